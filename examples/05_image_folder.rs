//! A folder of images becomes a classifier: about 95 % of the test images after 10 epochs, for the shapes that it draws
//! if no folder is given.
//!
//! `cargo run --features images --example 05_image_folder [folder with a sub-folder for each class] [epochs]`

use std::path::Path;

use halfgrad::{
    Adam, Gpu, Graph, Plan, Precision, Weights,
    data::{Augment, Batch, ImageFolder, folder::OnBroken},
    nn,
};
use image::{Rgb, RgbImage};

mod arguments;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let drawn = tempfile::tempdir()?;
    let folder = match arguments.next() {
        Some(folder) => folder.into(),
        None => draw_shapes(drawn.path(), 150)?,
    };
    let epochs = arguments::number(&mut arguments, 10);

    // Sub-folders are classes, a fifth of each is for testing; a broken file is told and left out.
    let (images, broken) = ImageFolder::new(folder).size(32, 32).on_broken(OnBroken::Skip).load()?;
    broken.iter().for_each(|e| println!("skipped: {e}"));
    let classes = &images.class_names;
    println!("{} training and {} test images of {}", images.train.len(), images.test.len(), classes.join(", "));
    let size = images.train.len().min(32);
    let batches = images.train.batches(size)?.shuffled(7).augmented(Augment::new(7).flip().crop(3))?;

    let gpu = Gpu::new()?;
    let graph = Graph::new(Precision::MIXED);
    let x = graph.input("x", [size, 32, 32, 3]);
    let label = graph.labels("label", [size]);
    let logits = nn::lenet(x, classes.len());
    let loss = logits.cross_entropy(label);

    let weights = Weights::init(&gpu, &graph, 42)?;
    let mut train = Plan::train(&gpu, &weights, loss, Adam::new(1e-3))?;
    let mut infer = Plan::infer(&gpu, &weights, [logits])?;
    let mut batch = Batch::default();
    for epoch in 0..epochs {
        // A thread puts the next batch together while this one trains.
        let mut ahead = batches.epoch(epoch).prefetched();
        while ahead.fill(&mut batch) {
            train.write(x, &batch.images)?;
            train.write(label, &batch.labels)?;
            train.run();
        }
        let losses = train.losses().wait()?;
        let mean = losses.iter().sum::<f32>() / losses.len() as f32;
        let test = infer.evaluate(x, logits, &images.test)?;
        println!("epoch {epoch:>2}: loss {mean:.4}, test accuracy {:.1} %", 100.0 * test.accuracy);
    }

    let answers = infer.predict(x, logits, &images.test)?;
    for (scores, &label) in
        answers.chunks(classes.len()).zip(images.test.labels()).step_by((images.test.len() / 4).max(1))
    {
        let best = (0..classes.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).expect("there are classes");
        println!("a {} looks like a {}", classes[label as usize], classes[best]);
    }
    Ok(())
}

/// Writes `each` images of each of four shapes, of mixed sizes, places and colours, and gives back the folder.
fn draw_shapes(folder: &Path, each: u32) -> image::ImageResult<std::path::PathBuf> {
    // Whether a point lies in a shape, seen from its middle in units of its size.
    type Shape = fn(f32, f32) -> bool;
    let shapes: [(&str, Shape); 4] = [
        ("circle", |x, y| x * x + y * y < 1.0),
        ("cross", |x, y| x.abs() < 0.3 && y.abs() < 1.0 || y.abs() < 0.3 && x.abs() < 1.0),
        ("square", |x, y| x.abs() < 0.9 && y.abs() < 0.9),
        ("triangle", |x, y| y < 0.9 && y > 2.0 * x.abs() - 1.0),
    ];
    let mut state = 1u32;
    let mut random = |from: f32, to: f32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        from + (to - from) * (state >> 8) as f32 / (1 << 24) as f32
    };
    for (name, inside) in shapes {
        std::fs::create_dir(folder.join(name))?;
        for i in 0..each {
            let [width, height] = [random(24.0, 80.0), random(24.0, 80.0)];
            let radius = width.min(height) * random(0.3, 0.45);
            let (left, top) = (random(radius, width - radius), random(radius, height - radius));
            let paper = random(0.0, 120.0);
            let ink = [0; 3].map(|_| paper as u8 + random(80.0, 135.0) as u8);
            let image = RgbImage::from_fn(width as u32, height as u32, |x, y| {
                let shade = (paper + random(-20.0, 20.0)) as u8;
                let inside = inside((x as f32 - left) / radius, (y as f32 - top) / radius);
                Rgb(if inside { ink } else { [shade; 3] })
            });
            image.save(folder.join(name).join(format!("{i:03}.png")))?;
        }
    }
    Ok(folder.to_path_buf())
}
