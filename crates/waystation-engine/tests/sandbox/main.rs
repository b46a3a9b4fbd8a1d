//! User code in its sandbox, through the node types that run it.

mod cases;
mod limits;
mod support;
