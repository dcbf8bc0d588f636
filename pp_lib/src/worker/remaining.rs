//! The items of a batch that are still to be recorded, in parts that the store takes together.

use std::collections::VecDeque;

use crate::domain::{PART_BYTES, parts};

/// Places of items, in parts of bounded bytes.
pub(super) struct Remaining(VecDeque<Vec<usize>>);

impl Remaining {
    /// All items, each of this size.
    pub(super) fn new<T>(all: &[T], bytes: impl Fn(&T) -> usize) -> Self {
        let places: Vec<usize> = (0..all.len()).collect();
        let cut = parts(&places, places.len(), PART_BYTES, |place| bytes(&all[*place]));
        Self(cut.map(<[usize]>::to_vec).collect())
    }

    /// The next part, which is not empty.
    pub(super) fn next(&mut self) -> Option<Vec<usize>> {
        self.0.pop_front()
    }

    /// Puts a part back: it is the next one.
    pub(super) fn again(&mut self, part: Vec<usize>) {
        if !part.is_empty() {
            self.0.push_front(part);
        }
    }

    /// Takes a part that was refused apart, to find what is refused in it.
    pub(super) fn halve(&mut self, mut part: Vec<usize>) {
        let second = part.split_off(part.len() / 2);
        self.again(second);
        self.again(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_end_by_bytes_and_return_in_halves() {
        let mut remaining = Remaining::new(&[PART_BYTES, 1, 1, 1], |bytes| *bytes);
        assert_eq!(remaining.next(), Some(vec![0]));
        let part = remaining.next().unwrap();
        assert_eq!(part, [1, 2, 3]);
        remaining.halve(part);
        remaining.again(Vec::new());
        let [first, second] = [(); 2].map(|()| remaining.next());
        assert_eq!((first, second), (Some(vec![1]), Some(vec![2, 3])));
        assert_eq!(remaining.next(), None);
        assert_eq!(Remaining::new(&[], |bytes| *bytes).next(), None);
    }
}
