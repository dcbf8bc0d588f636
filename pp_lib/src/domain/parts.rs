//! The size of batches and pages: each ends at a number of items, and also once its items have enough bytes.
//!
//! Arguments and results may be large, so a number of items alone bounds no memory. An item counts its texts only: they
//! are what can be large.

/// Bytes of one change, one read by keys, or one batch of messages. The last item may exceed it.
pub const PART_BYTES: usize = 8 << 20;

/// Bytes of one page that somebody reads: of works or of events. The last item may exceed it.
pub const PAGE_BYTES: usize = 1 << 20;

/// The number of leading items that belong together: at most `most`, and the last one reaches `bytes`.
pub fn fitting<T>(items: &[T], most: usize, bytes: usize, size: impl Fn(&T) -> usize) -> usize {
    let mut before = 0;
    let fits = |item: &&T| {
        let fits = before < bytes;
        before += size(item);
        fits
    };
    items.iter().take(most).take_while(fits).count()
}

/// Cuts items into parts of at most `most` items and about `bytes`.
pub fn parts<T>(items: &[T], most: usize, bytes: usize, size: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let (part, later) = rest.split_at(fitting(rest, most, bytes, &size));
        rest = later;
        (!part.is_empty()).then_some(part)
    })
}

/// True if items that were read together end because of their bytes. There may be more behind them.
pub fn is_full<T>(items: &[T], bytes: usize, size: impl Fn(&T) -> usize) -> bool {
    items.iter().map(size).sum::<usize>() >= bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_ends_at_its_number_or_its_bytes() {
        let lengths = |sizes: &[usize]| {
            let all = parts(sizes, 3, 10, |size| *size);
            all.map(<[usize]>::len).collect::<Vec<_>>()
        };
        assert_eq!(lengths(&[]), [0; 0]);
        assert_eq!(lengths(&[1; 7]), [3, 3, 1]);
        assert_eq!(lengths(&[9, 1, 1]), [2, 1]);
        assert_eq!(lengths(&[9, 99, 1]), [2, 1]);
        assert_eq!(lengths(&[99, 99]), [1, 1]);
        assert_eq!(lengths(&[0, 0, 0, 0]), [3, 1]);
    }

    #[test]
    fn what_was_read_is_full_once_it_has_the_bytes() {
        assert!(!is_full(&[4, 5], 10, |size| *size));
        assert!(is_full(&[4, 6], 10, |size| *size));
        assert!(!is_full(&[], 10, |size: &usize| *size));
    }
}
