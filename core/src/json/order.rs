//! The order in which JavaScript keeps an object's keys.
//!
//! ECMA-262's OrdinaryOwnPropertyKeys: array indices ("0" to "4294967294", written canonically) in ascending numeric order,
//! then the other keys as they were first inserted. A key that comes again replaces the value and keeps its place.

use std::cmp::Ordering;

/// Returns the positions of `names` in the order JavaScript would keep them as keys of one object.
///
/// Of a name that occurs more than once, the place is the first one's and the position returned is the last one's.
pub fn property_order(names: &[&str]) -> Vec<usize> {
    order(names.len(), |at| names[at].as_bytes())
}

/// `property_order` for keys that are looked up by position. Keys are equal when their bytes are.
pub(super) fn order<'k>(count: usize, key: impl Fn(usize) -> &'k [u8]) -> Vec<usize> {
    let mut by_key: Vec<usize> = (0..count).collect();
    by_key.sort_by(|&a, &b| compare(key(a), key(b)));
    // The sort is stable, so the first and the last of each group are the first and the last occurrence.
    let mut places: Vec<(u64, usize, usize)> = by_key
        .chunk_by(|&a, &b| key(a) == key(b))
        .map(|same| {
            let (first, last) = (same[0], same[same.len() - 1]);
            let rank = array_index(key(first)).map_or(u64::MAX, u64::from);
            (rank, first, last)
        })
        .collect();
    places.sort_unstable();
    places.into_iter().map(|(_, _, last)| last).collect()
}

/// Whether `order` would change nothing. Allocates only for a large object that is not sorted as `jsonb` sorts.
pub(super) fn is_in_order<'k>(count: usize, key: impl Fn(usize) -> &'k [u8]) -> bool {
    let mut last_index = None;
    let mut past_indices = false;
    let mut ascending = true;
    for at in 0..count {
        match array_index(key(at)) {
            Some(_) if past_indices => return false,
            Some(index) if Some(index) <= last_index => return false,
            Some(index) => last_index = Some(index),
            None => past_indices = true,
        }
        ascending = ascending && (at == 0 || compare(key(at - 1), key(at)).is_lt());
    }
    ascending || !has_duplicates(count, key)
}

/// Below this many keys, comparing all pairs is quicker than sorting.
const MAX_PAIRWISE_KEYS: usize = 16;

fn has_duplicates<'k>(count: usize, key: impl Fn(usize) -> &'k [u8]) -> bool {
    if count <= MAX_PAIRWISE_KEYS {
        return (1..count).any(|at| (0..at).any(|earlier| key(earlier) == key(at)));
    }
    let mut keys: Vec<&[u8]> = (0..count).map(key).collect();
    keys.sort_unstable_by(|a, b| compare(a, b));
    keys.windows(2).any(|pair| pair[0] == pair[1])
}

/// The order `jsonb` keeps its keys in, so that its output is recognised as free of duplicates in one pass.
fn compare(a: &[u8], b: &[u8]) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

fn array_index(key: &[u8]) -> Option<u32> {
    match key {
        [b'0'] => Some(0),
        [b'1'..=b'9', rest @ ..] if rest.len() < 10 && rest.iter().all(u8::is_ascii_digit) => {
            let value = key.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
            u32::try_from(value).ok().filter(|&index| index != u32::MAX)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unchanged(names: &[&str]) -> bool {
        let unchanged = is_in_order(names.len(), |at| names[at].as_bytes());
        let order = property_order(names);
        assert_eq!(unchanged, order.iter().copied().eq(0..names.len()), "{names:?}");
        unchanged
    }

    #[test]
    fn names_keep_their_order() {
        assert!(unchanged(&[]));
        assert!(unchanged(&["sku", "name", "", "price"]));
    }

    #[test]
    fn array_indices_come_first_in_numeric_order() {
        assert_eq!(property_order(&["b", "10", "a", "9", "0"]), [4, 3, 1, 0, 2]);
        assert!(!unchanged(&["a", "1"]));
        assert!(!unchanged(&["10", "9"]));
        assert!(unchanged(&["9", "10", "a"]));
    }

    #[test]
    fn only_canonical_numbers_below_two_to_the_32_less_one_are_indices() {
        assert_eq!(array_index(b"4294967294"), Some(4294967294));
        for name in ["", "4294967295", "4294967296", "99999999999", "01", "00", "-1", "1.0", "1e1", "١"] {
            assert_eq!(array_index(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn of_a_repeated_name_the_first_place_and_the_last_position_count() {
        assert_eq!(property_order(&["a", "b", "a", "c", "a"]), [4, 1, 3]);
        assert!(!unchanged(&["1", "1"]));
        assert!(!unchanged(&["b", "a", "b"]));
    }

    #[test]
    fn a_duplicate_is_found_among_many_unsorted_names() {
        let mut names: Vec<String> = (0..100).rev().map(|at| format!("k{at}")).collect();
        assert!(unchanged(&names.iter().map(String::as_str).collect::<Vec<_>>()));
        names.push("k50".to_owned());
        assert!(!unchanged(&names.iter().map(String::as_str).collect::<Vec<_>>()));
    }
}
