//! What the convolutional examples learn from.

use halfgrad::{
    Error, Result,
    data::{self, Split},
};

/// Images of the four IDX files in a folder; without one, those of clothes (Fashion-MNIST), or digits if they are not installed.
pub fn images(folder: Option<String>) -> Result<Split> {
    match folder {
        Some(folder) => data::idx::load(folder),
        None => data::fashion_mnist().or_else(|missing: Error| {
            println!("{missing}\nso it learns the digits");
            Ok(data::digits())
        }),
    }
}
