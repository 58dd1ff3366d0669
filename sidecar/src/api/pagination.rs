//! Pages of rows: so many at most, and an opaque word that says where the next page begins.

use super::error::ApiError;

const MAX_PAGE_ROWS: i32 = 1000;
const DEFAULT_PAGE_ROWS: i32 = 100;

/// How many rows a page has.
#[derive(Clone, Copy, Debug)]
pub struct Limit(i32);

impl Limit {
    /// What was asked for, from 1 to 1000; 100 where nothing was.
    pub fn of(asked: Option<i32>) -> Result<Self, ApiError> {
        let rows = asked.unwrap_or(DEFAULT_PAGE_ROWS);
        if (1..=MAX_PAGE_ROWS).contains(&rows) {
            return Ok(Self(rows));
        }
        Err(ApiError::malformed("invalid_parameter", format!("limit is {rows}; it must be from 1 to {MAX_PAGE_ROWS}")))
    }

    /// How many rows to read: one more tells whether there is a next page.
    pub fn to_read(self) -> i32 {
        self.0 + 1
    }

    /// Cuts the rows that were read to the page, and says where the next begins: at the `place` of its last row.
    pub fn cut<T>(self, rows: &mut Vec<T>, place: impl Fn(&T) -> String) -> Option<String> {
        let most = usize::try_from(self.0).expect("it is from 1 to 1000");
        let goes_on = rows.len() > most;
        rows.truncate(most);
        rows.last().filter(|_| goes_on).map(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_goes_on_only_where_another_row_was_read() {
        let limit = Limit::of(Some(2)).unwrap();
        let mut rows = vec![1, 2, 3];
        assert_eq!(limit.cut(&mut rows, ToString::to_string), Some("2".to_owned()));
        assert_eq!(rows, [1, 2]);
        assert_eq!(limit.cut(&mut vec![1, 2], ToString::to_string), None);
        assert_eq!(limit.cut(&mut vec![], i32::to_string), None);
    }

    #[test]
    fn a_page_has_from_one_to_a_thousand_rows() {
        for bad in [i32::MIN, -1, 0, 1001, i32::MAX] {
            assert!(Limit::of(Some(bad)).is_err(), "{bad}");
        }
        assert_eq!(Limit::of(None).unwrap().to_read(), 101);
    }
}
