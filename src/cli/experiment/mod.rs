//! `halfgrad study --experiment`: named runs that can be broken off and gone on with.

pub mod record;
