use super::{Batch, Epoch};
use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

/// How many batches may wait to be taken.
const AHEAD: usize = 2;

/// The batches of one epoch, put together ahead by a thread of their own, which ends with this.
#[derive(Debug)]
pub struct Prefetched {
    batches: Receiver<Batch>,
    /// Where batches go whose memory may be used again.
    used: SyncSender<Batch>,
    left: usize,
}

impl Prefetched {
    pub(super) fn new(mut epoch: Epoch) -> Self {
        let left = epoch.len();
        let (send, batches) = sync_channel(AHEAD);
        // One more than wait is being made, and all may come back at once.
        let (used, spare) = sync_channel(AHEAD + 1);
        (0..=AHEAD).for_each(|_| used.try_send(Batch::default()).expect("there is room for so many"));
        thread::spawn(move || {
            // Either end is gone when nobody takes batches any more.
            while let Ok(mut batch) = spare.recv() {
                if !epoch.fill(&mut batch) || send.send(batch).is_err() {
                    break;
                }
            }
        });
        Prefetched { batches, used, left }
    }

    /// Puts the next batch in the place of `batch`, whose memory the thread uses again; `false` after the last.
    pub fn fill(&mut self, batch: &mut Batch) -> bool {
        let Ok(next) = self.batches.recv() else { return false };
        self.left -= 1;
        // A thread that has made its last batch needs no memory.
        let _ = self.used.send(std::mem::replace(batch, next));
        true
    }
}

impl Iterator for Prefetched {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let mut batch = Batch::default();
        self.fill(&mut batch).then_some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Prefetched {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Augment, digits};
    use std::{collections::BTreeSet, time::Duration};

    #[test]
    fn batches_are_the_same_and_memory_is_used_again() {
        let train = digits().train;
        let batches = train.batches(10).unwrap().shuffled(7).augmented(Augment::new(1).crop(2)).unwrap();
        let (mut epoch, mut ahead) = (batches.epoch(4), batches.epoch(4).prefetched());
        let [mut expected, mut found] = [Batch::default(), Batch::default()];
        let mut places = BTreeSet::new();
        assert_eq!(ahead.len(), 144);
        while epoch.fill(&mut expected) {
            assert!(ahead.fill(&mut found));
            assert_eq!(found, expected);
            places.insert(found.images.as_ptr());
        }
        assert!(!ahead.fill(&mut found) && ahead.len() == 0 && ahead.next().is_none());
        assert!(places.len() <= AHEAD + 2, "{} places of memory for 144 batches", places.len());
    }

    #[test]
    fn the_thread_runs_no_further_than_needed_and_ends_with_its_owner() {
        let train = digits().train;
        let ahead = train.batches(1).unwrap().epoch(0).prefetched();
        thread::sleep(Duration::from_millis(50));
        let Prefetched { batches, used, .. } = ahead;
        assert!(used.send(Batch::default()).is_ok(), "1437 batches wait to be taken");
        drop(batches);
        // Its end of the channel of used batches goes when the thread does.
        assert!((0..500).any(|_| {
            thread::sleep(Duration::from_millis(10));
            used.send(Batch::default()).is_err()
        }));
    }
}
