//! Instruction chains: models, endpoints, threads and routers one after another, with branches.
