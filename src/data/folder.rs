//! Folders of images, a sub-folder for each class; needs the feature `images`.

use super::{Dataset, Split};
use crate::{Error, Result, Shape, dispatch::count, file::unreadable, random::Random};
use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Limits, imageops::FilterType};
use std::{
    fs::{self, File},
    io::{self, BufReader},
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

/// What becomes of a file that cannot be read as an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnBroken {
    /// Nothing is loaded: the error names the file, the first in the order of names.
    #[default]
    Stop,
    /// The file is left out, and its error is handed back beside the data.
    Skip,
}

/// A folder with a sub-folder for each class, whose name is the class's and whose files are its images.
///
/// ```
/// use halfgrad::data::ImageFolder;
/// # let folder = tempfile::tempdir().unwrap();
/// # for (class, shade) in [("dark", 0), ("light", 200)] {
/// #     std::fs::create_dir(folder.path().join(class)).unwrap();
/// #     for i in 0..5 {
/// #         let path = folder.path().join(class).join(format!("{i}.png"));
/// #         image::GrayImage::from_pixel(9, 7, image::Luma([shade + i])).save(path).unwrap();
/// #     }
/// # }
/// let (split, broken) = ImageFolder::new(folder.path()).size(32, 32).load()?;
/// assert_eq!(split.class_names, ["dark", "light"]);
/// assert_eq!((split.train.len(), split.test.len(), split.train.shape().to_vec()), (8, 2, vec![32, 32, 3]));
/// assert!(broken.is_empty());
/// # Ok::<(), halfgrad::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct ImageFolder {
    path: PathBuf,
    form: Form,
    test: f64,
    seed: u64,
    on_broken: OnBroken,
}

/// The size and the channels, 3 or 1, that images are brought to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Pixels from top to bottom.
    pub height: usize,
    /// Pixels from left to right.
    pub width: usize,
    /// Whether images are grey, `[height, width, 1]`, and not coloured, `[height, width, 3]`.
    pub grey: bool,
}

impl Form {
    /// The shape of a sample.
    ///
    /// # Errors
    /// [`Error::Data`] if there are no pixels, or more than a tensor can have.
    pub fn shape(self) -> Result<Shape> {
        let shape = Shape::new(&[self.height, self.width, if self.grey { 1 } else { 3 }]);
        shape.filter(|shape| !shape.is_empty() && self.height.max(self.width) <= 1 << 14).ok_or_else(|| {
            Error::Data(format!("images of {} × {} pixels: each must be from 1 to 16384", self.height, self.width))
        })
    }

    /// Reads one image, stretched to this size, row by row and channels last, in 8 bits.
    ///
    /// Reads PNG, JPEG, GIF (its first picture), BMP and WebP, whatever the file's name; cameras' notes of which side is
    /// up are followed, 16 bits become 8, grey becomes coloured or the reverse, and transparency is dropped. Shrinking
    /// averages.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be read, is no image of these, or is broken; [`Error::Data`] as
    /// [`shape`](Self::shape).
    pub fn read(self, path: impl AsRef<Path>) -> Result<Vec<u8>> {
        let path = path.as_ref();
        self.shape()?;
        let reader = File::open(path).and_then(|file| ImageReader::new(BufReader::new(file)).with_guessed_format());
        let reader = reader.map_err(|e| unreadable(path, &e))?;
        if reader.format().is_none() {
            return Err(Error::file(path, "not an image: PNG, JPEG, GIF, BMP and WebP are read"));
        }
        let image = guarded(path, || decode(path, reader))?;
        let (width, height) = (self.width as u32, self.height as u32);
        let fit = |image: DynamicImage| image.resize_exact(width, height, FilterType::Triangle);
        Ok(match self.grey {
            true => fit(image.into_luma8().into()).into_luma8().into_raw(),
            false => fit(image.into_rgb8().into()).into_rgb8().into_raw(),
        })
    }
}

/// Decodes a file whose pixels take no more memory than [`Limits`] allow, and turns it the right way up.
fn decode(path: &Path, reader: ImageReader<BufReader<File>>) -> Result<DynamicImage> {
    let broken = |e: ImageError| Error::file(path, format!("not a whole image: {e}"));
    let mut decoder = reader.into_decoder().map_err(broken)?;
    // A header of a few bytes may announce any size, and what it announces is allocated before a pixel is read.
    let (mut limits, (width, height)) = (Limits::default(), decoder.dimensions());
    limits.reserve(decoder.total_bytes()).map_err(|_| {
        let bytes = count(decoder.total_bytes());
        Error::file(path, format!("too large an image: {width} × {height} pixels would take {bytes}B of memory"))
    })?;
    decoder.set_limits(limits).map_err(broken)?;
    let orientation = decoder.orientation().map_err(broken)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(broken)?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// What `decode` makes of a file; where its decoder panics, the file is at fault and the program goes on.
fn guarded<T>(path: &Path, decode: impl FnOnce() -> Result<T>) -> Result<T> {
    let caught = panic::catch_unwind(AssertUnwindSafe(decode));
    caught.unwrap_or_else(|_| Err(Error::file(path, "not a whole image: its decoder panicked")))
}

/// A file, its class, and the part that it belongs to.
struct Item {
    path: PathBuf,
    label: u32,
    test: bool,
}

impl ImageFolder {
    /// The images in `path`: in colour, of 32 × 32, a fifth for testing, drawn by seed 0, and broken ones an error.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let form = Form { height: 32, width: 32, grey: false };
        ImageFolder { path: path.into(), form, test: 0.2, seed: 0, on_broken: OnBroken::Stop }
    }

    /// The size to which each image is stretched.
    pub fn size(self, height: usize, width: usize) -> Self {
        ImageFolder { form: Form { height, width, ..self.form }, ..self }
    }

    /// One channel and not three.
    pub fn grey(self) -> Self {
        ImageFolder { form: Form { grey: true, ..self.form }, ..self }
    }

    /// The share of each class's images that is for testing, above 0 and below 1.
    pub fn test_share(self, test: f64) -> Self {
        ImageFolder { test, ..self }
    }

    /// The seed that chooses the images for testing.
    pub fn seed(self, seed: u64) -> Self {
        ImageFolder { seed, ..self }
    }

    /// What becomes of broken files.
    pub fn on_broken(self, on_broken: OnBroken) -> Self {
        ImageFolder { on_broken, ..self }
    }

    /// Loads all images, and the errors of those that were skipped.
    ///
    /// Classes are numbered in the order of their folders' names, and their images, also those in folders within, taken in
    /// the order of theirs. Which are for testing follows from the seed and the names alone; each class with two or more has
    /// at least one in either part. Names that start with a dot are passed over, and so are files beside the classes'
    /// folders, unless they are called like images: such a one is a broken file, since its class is not known.
    ///
    /// # Errors
    /// [`Error::File`] if there are not at least two folders with at least one file each, of the first broken file under
    /// [`OnBroken::Stop`], and if too few are whole; [`Error::Data`] for a size or share that cannot be.
    pub fn load(&self) -> Result<(Split, Vec<Error>)> {
        let shape = self.form.shape()?;
        if !(self.test > 0.0 && self.test < 1.0) {
            return Err(Error::Data(format!("a share of {} for testing: it must be above 0 and below 1", self.test)));
        }
        let (names, items, mut broken) = self.list()?;
        let images = self.decode(&items)?;
        let part = |test: bool| {
            let whole = items.iter().zip(&images).filter(|(item, _)| item.test == test);
            let whole = whole.filter_map(|(item, image)| Some((item.label, image.as_ref().ok()?)));
            let (labels, images): (Vec<u32>, Vec<&[u8]>) = whole.map(|(label, image)| (label, &image[..])).unzip();
            if labels.is_empty() {
                let part = if test { "to test on" } else { "to learn from" };
                return Err(Error::file(&self.path, format!("no whole images are left {part}")));
            }
            Dataset::from_bytes(images.concat(), labels, shape, names.len())
        };
        let (train, test) = (part(false)?, part(true)?);
        broken.extend(images.into_iter().filter_map(Result::err));
        let name = self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy();
        Ok((Split::standardized(name, train, test)?.named(names)?, broken))
    }

    /// The classes' names, all their files in order, and the errors of images that have no class.
    fn list(&self) -> Result<(Vec<String>, Vec<Item>, Vec<Error>)> {
        let (folders, files): (Vec<_>, Vec<_>) = entries(&self.path)?.into_iter().partition(|path| path.is_dir());
        if folders.len() < 2 {
            let found = match &folders[..] {
                [] => "holds no folders".to_owned(),
                one => format!("holds one folder alone, {:?}", name(&one[0])),
            };
            return Err(Error::file(&self.path, format!("{found}: there must be one for each class, two or more")));
        }
        let is_image = |path: &&PathBuf| image::ImageFormat::from_path(path).is_ok();
        let astray = files
            .iter()
            .filter(is_image)
            .map(|path| Error::file(path, "is in no class: move it into the folder of its class"));
        let astray: Vec<Error> = astray.collect();
        if let (OnBroken::Stop, Some(first)) = (self.on_broken, astray.first()) {
            return Err(first.clone());
        }
        let mut items = vec![];
        for (label, folder) in folders.iter().enumerate() {
            let files = within(folder)?;
            if files.is_empty() {
                return Err(Error::file(folder, "is a class without images: fill it or remove it"));
            }
            let test = self.draw(&name(folder), files.len());
            items.extend(files.into_iter().zip(test).map(|(path, test)| Item { path, label: label as u32, test }));
        }
        Ok((folders.iter().map(|folder| name(folder)).collect(), items, astray))
    }

    /// Which of the `n` images of a class are for testing.
    fn draw(&self, class: &str, n: usize) -> Vec<bool> {
        let mut order: Vec<u32> = (0..n as u32).collect();
        Random::new(self.seed, &format!("split {class}")).shuffle(&mut order);
        let count = ((n as f64 * self.test).round() as usize).clamp(usize::from(n > 1), n - 1);
        let mut test = vec![false; n];
        order[..count].iter().for_each(|&i| test[i as usize] = true);
        test
    }

    /// The pixels of each file, or why there are none, by all processors; ends at the first broken file if it must.
    fn decode(&self, items: &[Item]) -> Result<Vec<Result<Vec<u8>>>> {
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let work = || {
            let mut done = vec![];
            while !stop.load(Ordering::Relaxed) {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(item) = items.get(at) else { break };
                let image = self.form.read(&item.path);
                if image.is_err() && self.on_broken == OnBroken::Stop {
                    stop.store(true, Ordering::Relaxed);
                }
                done.push((at, image));
            }
            done
        };
        let threads = thread::available_parallelism().map_or(1, Into::into);
        let mut done = thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .flat_map(|worker| worker.join().expect("what a decoder throws is caught"))
                .collect::<Vec<_>>()
        });
        // Files are begun in order, and what was begun is finished: the first error here is the first by name.
        done.sort_by_key(|(at, _)| *at);
        let images = done.into_iter().map(|(_, image)| image);
        match self.on_broken {
            OnBroken::Stop => images.map(|image| image.map(Ok)).collect(),
            OnBroken::Skip => Ok(images.collect()),
        }
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What a folder holds, in the order of names, without what is hidden.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let unlisted = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => Error::file(folder, "no such folder"),
        io::ErrorKind::NotADirectory => Error::file(folder, "is no folder"),
        _ => unreadable(folder, &e),
    };
    let all = fs::read_dir(folder).map_err(unlisted)?.map(|entry| Ok(entry.map_err(unlisted)?.path()));
    let mut all: Vec<PathBuf> = all.collect::<Result<_>>()?;
    all.retain(|path| !name(path).starts_with('.'));
    all.sort();
    Ok(all)
}

/// All files in a folder and in those within, in the order of their paths.
fn within(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = vec![];
    for path in entries(folder)? {
        // A link to a folder could lead back to this one.
        match path.is_dir() && !path.is_symlink() {
            true => files.extend(within(&path)?),
            false => files.push(path),
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayAlphaImage, GrayImage, ImageBuffer, Luma, LumaA, Rgb, RgbImage};

    /// A folder with files of these names, PNGs of one shade unless bytes are given.
    fn folder(files: &[(&str, Option<&[u8]>)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match bytes {
                Some(bytes) => fs::write(path, bytes).unwrap(),
                None => GrayImage::from_pixel(3, 4, Luma([9])).save(path).unwrap(),
            }
        }
        root
    }

    fn message(folder: &tempfile::TempDir) -> String {
        ImageFolder::new(folder.path()).load().unwrap_err().to_string()
    }

    /// 200 images of mixed sizes in four classes; every pixel of class k's image i is 40 k + i.
    fn two_hundred() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for k in 0..4u32 {
            let folder = root.path().join(["ape", "bee", "Zebra", "Ölkäfer 🪲"][k as usize]);
            fs::create_dir(&folder).unwrap();
            for i in 0..50 {
                let shade = Luma([(40 * k + i) as u8]);
                GrayImage::from_pixel(1 + (i * 7 + k) % 60, 1 + i * 13 % 50, shade)
                    .save(folder.join(format!("{i:02}.png")))
                    .unwrap();
            }
        }
        root
    }

    #[test]
    fn one_broken_file_of_two_hundred_stops_all_or_is_skipped_by_name() {
        let root = two_hundred();
        let load = |on_broken| ImageFolder::new(root.path()).size(8, 6).grey().on_broken(on_broken).load();
        let (whole, broken) = load(OnBroken::Stop).unwrap();
        assert_eq!((whole.train.len(), whole.test.len(), broken.len()), (160, 40, 0));
        assert_eq!(whole.class_names, ["Zebra", "ape", "bee", "Ölkäfer 🪲"]);

        let path = root.path().join("bee/17.png");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 20]).unwrap();
        let Err(Error::File { path: found, detail }) = load(OnBroken::Stop) else { panic!("it is broken") };
        assert_eq!(found, path);
        assert!(detail.starts_with("not a whole image: "), "{detail}");
        let (rest, broken) = load(OnBroken::Skip).unwrap();
        assert_eq!(broken, [Error::File { path: path.clone(), detail }]);
        assert_eq!((rest.train.len() + rest.test.len(), rest.class_names), (199, whole.class_names.clone()));

        // Of many broken ones the first by name is told, whichever thread meets it.
        for name in ["bee/19.png", "bee/18.png", "Zebra/40.png", "Ölkäfer 🪲/00.png"] {
            fs::write(root.path().join(name), "no image").unwrap();
        }
        let expected = "Zebra/40.png: not an image: PNG, JPEG, GIF, BMP and WebP are read";
        (0..20).for_each(|_| assert!(message(&root).ends_with(expected), "{}", message(&root)));
        let (_, broken) = load(OnBroken::Skip).unwrap();
        assert_eq!(broken.len(), 5);
    }

    #[test]
    fn parts_follow_from_seed_and_names_and_every_class_is_in_both() {
        let root = two_hundred();
        let load = |seed| ImageFolder::new(root.path()).size(2, 2).seed(seed).test_share(0.3).load().unwrap().0;
        let split = load(1);
        assert_eq!(split, load(1));
        assert_ne!(split.test, load(2).test);
        for (part, each) in [(&split.train, 35), (&split.test, 15)] {
            assert!((0..4).all(|class| part.labels().iter().filter(|&&label| label == class).count() == each));
        }
        // Each image in one part: its pixels tell which it is.
        let shades = |data: &Dataset| Vec::from_iter(data.images().chunks(12).map(|image| image[0].to_bits()));
        let mut all = [shades(&split.train), shades(&split.test)].concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 40 * 3 + 50, "shades of neighbouring classes meet in part");
    }

    #[test]
    fn every_kind_of_image_becomes_eight_bits_of_this_form() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let read = |name: &str, grey| Form { height: 2, width: 3, grey }.read(path(name)).unwrap();
        GrayImage::from_pixel(1, 1, Luma([77])).save(path("one.png")).unwrap();
        assert_eq!((read("one.png", true), read("one.png", false)), (vec![77; 6], vec![77; 18]));
        let deep: ImageBuffer<Rgb<u16>, Vec<u16>> = ImageBuffer::from_pixel(9, 5, Rgb([0x8080, 0xffff, 0]));
        deep.save(path("deep.png")).unwrap();
        assert_eq!(read("deep.png", false), [128, 255, 0].repeat(6));
        GrayAlphaImage::from_pixel(4, 4, LumaA([50, 0])).save(path("clear.png")).unwrap();
        assert_eq!(read("clear.png", false), [50; 18]);
        let colours =
            RgbImage::from_fn(30, 20, |x, y| if (x < 20) == (y < 10) { Rgb([200, 0, 0]) } else { Rgb([0; 3]) });
        for name in ["photo.jpg", "a.bmp", "a.gif", "a.webp", "a.png"] {
            colours.save(path(name)).unwrap();
            let image = read(name, false);
            let near = |at: usize, red: u8| image[3 * at].abs_diff(red) < 60 && image[3 * at + 1] < 30;
            assert!(near(0, 200) && near(2, 0) && near(3, 0) && near(5, 200), "{name}: {image:?}");
        }
        fs::copy(path("a.png"), path("says.jpg")).unwrap();
        assert_eq!(read("says.jpg", false), read("a.png", false));
        let message = |height, width| Form { height, width, grey: true }.read(path("a.png")).unwrap_err().to_string();
        assert_eq!(message(0, 5), "images of 0 × 5 pixels: each must be from 1 to 16384");
    }

    #[test]
    fn an_image_as_large_as_its_header_says_is_not_allocated_and_a_decoder_that_panics_breaks_its_file_alone() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("huge.png");
        let chunk = |kind: &[u8], data: &[u8]| {
            let mut crc = flate2::Crc::new();
            crc.update(&[kind, data].concat());
            [&(data.len() as u32).to_be_bytes(), kind, data, &crc.sum().to_be_bytes()].concat()
        };
        let header = [&60_000u32.to_be_bytes()[..], &60_000u32.to_be_bytes(), &[8, 6, 0, 0, 0]].concat();
        let png =
            [&b"\x89PNG\r\n\x1a\n"[..], &chunk(b"IHDR", &header), &chunk(b"IDAT", &[0x78, 0x9c]), &chunk(b"IEND", &[])];
        fs::write(&path, png.concat()).unwrap();
        let error = Form { height: 8, width: 8, grey: false }.read(&path).unwrap_err();
        let detail = "too large an image: 60000 × 60000 pixels would take 14.40 GB of memory";
        assert_eq!(error, Error::file(&path, detail));

        let error = guarded::<()>(&path, || panic!("a decoder's mistake")).unwrap_err();
        assert_eq!(error, Error::file(&path, "not a whole image: its decoder panicked"));
    }

    #[test]
    fn folders_that_are_no_data_set_are_refused() {
        let said = |files: &[(&str, Option<&[u8]>)], expected: &str| {
            let (folder, expected) = (folder(files), expected.to_owned());
            assert!(message(&folder).ends_with(&expected), "{}\n{expected}", message(&folder));
            assert!(message(&folder).starts_with(&folder.path().display().to_string()));
        };
        said(&[], ": holds no folders: there must be one for each class, two or more");
        said(&[("a/1.png", None)], ": holds one folder alone, \"a\": there must be one for each class, two or more");
        said(&[("a/1.png", None), ("b/.keep", Some(b""))], "b: is a class without images: fill it or remove it");
        said(&[("a/1.png", None), ("b/2.png", None)], ": no whole images are left to test on");
        said(
            &[("a/1.png", None), ("a/2.png", None), ("b/notes.txt", Some(b"x"))],
            "b/notes.txt: not an image: PNG, \
            JPEG, GIF, BMP and WebP are read",
        );
        said(
            &[("a/1.png", None), ("b/2.png", Some(b""))],
            "b/2.png: not an image: PNG, JPEG, GIF, BMP and WebP are read",
        );
        let astray = [("a/1.png", None), ("a/2.png", None), ("b/1.png", None), ("x.png", None)];
        said(&astray, "x.png: is in no class: move it into the folder of its class");
        let root = folder(&astray);
        let (split, broken) = ImageFolder::new(root.path()).on_broken(OnBroken::Skip).load().unwrap();
        assert_eq!((split.train.len(), split.test.len(), broken.len()), (2, 1, 1));
        assert!(ImageFolder::new("/gone").load().unwrap_err().to_string().ends_with("/gone: no such folder"));
        let share = ImageFolder::new(root.path()).test_share(1.0).load().unwrap_err().to_string();
        assert_eq!(share, "a share of 1 for testing: it must be above 0 and below 1");
    }

    #[test]
    fn what_lies_deeper_counts_and_what_is_hidden_or_a_note_does_not() {
        let mut files = vec![("README.md", Some(&b"x"[..])), (".git/config", Some(b"x")), ("a/.DS_Store", Some(b"x"))];
        files.extend([
            ("a/1.png", None),
            ("a/more/2.png", None),
            ("a/more/3.png", None),
            ("b/1.png", None),
            ("b/2.png", None),
        ]);
        let root = folder(&files);
        let (split, _) = ImageFolder::new(root.path()).load().unwrap();
        assert_eq!((split.class_names, split.train.len(), split.test.len()), (vec!["a".into(), "b".into()], 3, 2));
    }
}
