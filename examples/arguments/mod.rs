//! What the examples take from their command lines.

use std::{process, str::FromStr};

/// The next argument as a number, or the usual one if there is none; the program ends if it is something else.
pub fn number<T: FromStr>(arguments: &mut impl Iterator<Item = String>, usual: T) -> T {
    let Some(argument) = arguments.next() else { return usual };
    argument.parse().unwrap_or_else(|_| {
        eprintln!("error: {argument:?} is no whole number");
        process::exit(2)
    })
}
