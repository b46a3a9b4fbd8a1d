//! Templates and conditions: parsed once, evaluated on borrowed JSON within fixed bounds.
