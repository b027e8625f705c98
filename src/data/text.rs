//! Text as tokens: any UTF-8 file by bytes or by characters, cut into windows for a language model.

use std::path::Path;

use super::{Dataset, IGNORE, Split};
use crate::{Error, Result, Shape, file};

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unit {
    /// A byte, of 256 kinds.
    Byte,
    /// A character, of as many kinds as the text has, in the order of their code points.
    #[default]
    Character,
}

/// Of a text's end, the share that is kept for testing.
const TEST_SHARE: usize = 10;
/// No more tokens than these are for testing, as each of them has a result for each kind.
const TEST_TOKENS: usize = 1 << 16;
/// At how many places of a window a token is seen: one alone would be learned by heart.
const PLACES: usize = 8;
/// Windows for training overlap less if they would hold more tokens than these.
const TRAIN_TOKENS: usize = 1 << 24;

/// A text and the kinds of tokens that it is made of.
///
/// ```
/// use halfgrad::data::text::{Text, Unit};
/// let text = Text::new("to be or not to be", Unit::Character)?;
/// assert_eq!(text.vocabulary(), 7); // " benort"
/// assert_eq!(text.encode("no")?, [3, 4]);
/// assert_eq!(text.decode(&text.tokens()[..5]), "to be");
/// assert!(text.encode("a").unwrap_err().to_string().contains("'a'"));
/// # Ok::<(), halfgrad::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    tokens: Vec<u32>,
    /// The characters in order; none if tokens are bytes.
    alphabet: Option<Vec<char>>,
}

impl Text {
    /// The text of a file.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, is empty or is not UTF-8: then with the place of the first wrong byte.
    pub fn read(path: impl AsRef<Path>, unit: Unit) -> Result<Self> {
        let path = path.as_ref();
        let bytes = file::read(path)?;
        let text = std::str::from_utf8(&bytes).map_err(|e| {
            let at = e.valid_up_to();
            let detail =
                format!("is not UTF-8: byte {at}, 0x{:02x}, begins no character; convert it to UTF-8", bytes[at]);
            Error::file(path, detail)
        })?;
        Text::new(text, unit).map_err(|e| Error::file(path, e))
    }

    /// A text in memory.
    ///
    /// # Errors
    /// [`Error::Data`] if it is empty.
    pub fn new(text: &str, unit: Unit) -> Result<Self> {
        if text.is_empty() {
            return Err(Error::Data("there is no text in it".into()));
        }
        let alphabet = (unit == Unit::Character).then(|| {
            let mut alphabet: Vec<char> = text.chars().collect();
            alphabet.sort_unstable();
            alphabet.dedup();
            alphabet
        });
        let mut found = Text { tokens: vec![], alphabet };
        found.tokens = found.encode(text)?;
        Ok(found)
    }

    /// The tokens of the whole text.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The size of the vocabulary: how many different tokens there are, which are the numbers below it.
    pub fn vocabulary(&self) -> usize {
        self.alphabet.as_ref().map_or(256, Vec::len)
    }

    /// The tokens of another text.
    ///
    /// # Errors
    /// [`Error::Data`] if it has a character that this one has not.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let Some(alphabet) = &self.alphabet else { return Ok(text.bytes().map(u32::from).collect()) };
        let token = |c| match alphabet.binary_search(&c) {
            Ok(token) => Ok(token as u32),
            Err(_) => Err(Error::Data(format!("the character {c:?} is none of the {} of the text", alphabet.len()))),
        };
        text.chars().map(token).collect()
    }

    /// The text of tokens; in the place of what is none, or no UTF-8, is `�`.
    pub fn decode(&self, tokens: &[u32]) -> String {
        match &self.alphabet {
            Some(alphabet) => {
                let character = |&t: &u32| alphabet.get(t as usize).copied().unwrap_or(char::REPLACEMENT_CHARACTER);
                tokens.iter().map(character).collect()
            }
            None => {
                let bytes: Vec<u8> = tokens.iter().map(|&t| u8::try_from(t).unwrap_or(0xff)).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            }
        }
    }

    /// Windows of `length` tokens, each with the token behind it for its label. The last tenth of the text, or its last
    /// 65,536 tokens if that is less, is for testing, in windows side by side. Those for training overlap: each token is
    /// seen at eight places, or at fewer in a text of more than two million. [`next_tokens`] makes of a sample what a
    /// language model is trained to say.
    ///
    /// ```
    /// use halfgrad::data::text::{Text, Unit, next_tokens};
    /// let text = Text::new(&"abc".repeat(20), Unit::Character)?;
    /// let split = text.split("abc", 5)?;
    /// let (window, label) = split.train.get(1).unwrap();
    /// assert_eq!((&window[..], label), (&[1.0, 2.0, 0.0, 1.0, 2.0][..], 0)); // bcabc, then a
    /// assert_eq!(next_tokens(&window, &[label]), [2, 0, 1, 2, 0]);
    /// assert_eq!((split.train.len(), split.test.len()), (49, 1));
    /// # Ok::<(), halfgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Data`] if either part is shorter than a window and one token more.
    pub fn split(&self, name: impl Into<String>, length: usize) -> Result<Split> {
        let n = self.tokens.len();
        let tested = (n / TEST_SHARE).min(TEST_TOKENS);
        if length == 0 || tested <= length {
            let least = length.max(1).saturating_add(1).saturating_mul(TEST_SHARE);
            return Err(Error::Data(format!(
                "a text of {n} tokens is too short for windows of {length}: {least} and more are needed"
            )));
        }
        let (train, test) = self.tokens.split_at(n - tested);
        let step = length.div_ceil((TRAIN_TOKENS / n).clamp(1, PLACES));
        let (train, test) = (self.windows(train, length, step)?, self.windows(test, length, length)?);
        // A token's name is its text.
        let class_names = (0..self.vocabulary() as u32).map(|token| self.decode(&[token])).collect();
        Ok(Split { name: name.into(), class_names, train, test, mean: 0.0, std: 1.0 })
    }

    /// Tokens are kept as values, which hold whole numbers up to 2²⁴; there are fewer characters.
    fn windows(&self, tokens: &[u32], length: usize, step: usize) -> Result<Dataset> {
        let windows = || tokens.windows(length + 1).step_by(step);
        let values = windows().flat_map(|w| w[..length].iter().map(|&t| t as f32)).collect();
        let labels = windows().map(|w| w[length]).collect();
        Dataset::new(values, labels, Shape::from([length]), self.vocabulary())
    }
}

/// For each place of windows the token behind it: the window's own next one, and the label at its end. A window whose
/// label is [`IGNORE`] is ignored as a whole.
pub fn next_tokens(windows: &[f32], labels: &[u32]) -> Vec<u32> {
    let length = windows.len() / labels.len().max(1);
    let next = |(window, &label): (&[f32], &u32)| {
        let ignored = label == IGNORE;
        let own = window[1..].iter().map(move |&t| if ignored { IGNORE } else { t as u32 });
        own.chain([label]).collect::<Vec<_>>()
    };
    windows.chunks_exact(length.max(1)).zip(labels).flat_map(next).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_any_script_come_back() {
        for unit in [Unit::Byte, Unit::Character] {
            let written = "Ähre, 麦, 🌾\r\n\0 and e\u{301}";
            let text = Text::new(written, unit).unwrap();
            assert_eq!(text.decode(text.tokens()), written);
            assert!(text.tokens().iter().all(|&t| (t as usize) < text.vocabulary()));
        }
        let bytes = Text::new("é", Unit::Byte).unwrap();
        assert_eq!((bytes.vocabulary(), bytes.tokens()), (256, &[0xc3, 0xa9][..]));
        assert_eq!(bytes.decode(&[0x61, 0xc3, 300]), "a\u{fffd}\u{fffd}");
        assert_eq!(Text::new("b", Unit::Character).unwrap().decode(&[0, 1]), "b\u{fffd}");
    }

    #[test]
    fn files_that_are_no_text_are_refused_by_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text.txt");
        let said = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Text::read(&path, Unit::Character).unwrap_err().to_string()
        };
        assert!(said(b"").ends_with("text.txt: there is no text in it"), "{}", said(b""));
        assert!(said(b"caf\xe9 au lait").contains("is not UTF-8: byte 3, 0xe9,"), "{}", said(b"caf\xe9 au lait"));
        assert!(said(b"cut \xe2\x82").contains("byte 4, 0xe2,"));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(Text::read(&path, Unit::Byte), Err(Error::File { .. })));
    }

    #[test]
    fn windows_overlap_in_training_and_stand_side_by_side_in_testing() {
        let numbers: Vec<char> = (0..1000).map(|i| char::from_u32(0x4e00 + i).unwrap()).collect();
        let text = Text::new(&numbers.iter().collect::<String>(), Unit::Character).unwrap();
        let split = text.split("numbers", 9).unwrap();
        // The last windows end one token before the end of their part, which is what follows them.
        for (part, first, step, count) in [(&split.train, 0, 2, 446), (&split.test, 900, 9, 11)] {
            assert_eq!((part.len(), part.classes()), (count, 1000));
            let next = next_tokens(&part.images(), part.labels());
            for (i, (&token, &next)) in part.images().iter().zip(&next).enumerate() {
                let expected = first + i / 9 * step + i % 9;
                assert_eq!((token as usize, next as usize), (expected, expected + 1));
            }
        }
        assert_eq!(next_tokens(&[1.0, 2.0, 0.0, 0.0], &[3, IGNORE]), [2, 3, IGNORE, IGNORE]);
        let short = text.split("numbers", 100).unwrap_err().to_string();
        assert_eq!(short, "a text of 1000 tokens is too short for windows of 100: 1010 and more are needed");
        assert!(text.split("numbers", 0).is_err());
        assert!(text.split("numbers", usize::MAX).is_err());
    }
}
