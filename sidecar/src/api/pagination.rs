//! Pages of rows: at most so many rows, and an opaque cursor that says where the next page begins.

use super::error::ApiError;

const MAX_PAGE_ROWS: i32 = 1000;
const DEFAULT_PAGE_ROWS: i32 = 100;

/// The number of rows of a page.
#[derive(Clone, Copy, Debug)]
pub struct PageSize(i32);

/// A page of rows. The last has no cursor.
pub struct Page<T> {
    pub rows: Vec<T>,
    pub next_cursor: Option<String>,
}

impl PageSize {
    /// Takes 1 to 1000 rows; 100 unless the caller names a number.
    pub fn new(asked: Option<i32>) -> Result<Self, ApiError> {
        let rows = asked.unwrap_or(DEFAULT_PAGE_ROWS);
        if (1..=MAX_PAGE_ROWS).contains(&rows) {
            return Ok(Self(rows));
        }
        Err(ApiError::malformed("invalid_parameter", format!("limit is {rows}; it must be from 1 to {MAX_PAGE_ROWS}")))
    }

    /// Returns how many rows to read: one more than the page has tells whether there is a next one.
    pub fn rows_to_read(self) -> i32 {
        self.0 + 1
    }

    /// Cuts the rows that were read to a page. The next begins after its last row, at the `position` of that.
    pub fn page<T>(self, mut rows: Vec<T>, position: impl Fn(&T) -> &str) -> Page<T> {
        let size = usize::try_from(self.0).expect("it is from 1 to 1000");
        let is_last = rows.len() <= size;
        rows.truncate(size);
        let next_cursor = rows.last().filter(|_| !is_last).map(|row| position(row).to_owned());
        Page { rows, next_cursor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_goes_on_only_where_another_row_was_read() {
        let size = PageSize::new(Some(2)).unwrap();
        let page = |rows: &[&'static str]| size.page(rows.to_vec(), |row| *row);
        let first = page(&["a", "b", "c"]);
        assert_eq!((first.rows, first.next_cursor.as_deref()), (vec!["a", "b"], Some("b")));
        assert_eq!(page(&["a", "b"]).next_cursor, None);
        assert_eq!(page(&[]).next_cursor, None);
    }

    #[test]
    fn a_page_has_from_one_to_a_thousand_rows() {
        for bad in [i32::MIN, -1, 0, 1001, i32::MAX] {
            assert!(PageSize::new(Some(bad)).is_err(), "{bad}");
        }
        assert_eq!(PageSize::new(None).unwrap().rows_to_read(), 101);
    }
}
