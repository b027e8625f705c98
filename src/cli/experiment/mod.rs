//! `halfgrad study --experiment`: named runs that can be broken off and gone on with.

#[expect(dead_code, reason = "the runner that fills these is the next to come")]
pub mod record;
