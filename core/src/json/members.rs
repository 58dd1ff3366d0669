//! The members of the objects that are being written, remembered until their object closes.
//!
//! A member is remembered by its place in the written text, never by its text, and all open objects share one list.

use super::order;
use super::reorder::Disordered;

/// The members of all open objects, the innermost object's last, and the closed objects to be put in order.
#[derive(Default)]
pub(super) struct Members {
    open: Vec<Member>,
    disordered: Vec<Disordered>,
}

/// A member's place in the written text: its key with the quotes, a colon, its value.
struct Member {
    start: usize,
    key_end: usize,
    end: usize,
}

/// An object that has been opened: where its brace was written, and how many members there were before.
#[derive(Clone, Copy)]
pub(super) struct OpenObject {
    start: usize,
    first: usize,
}

impl Members {
    /// Opens the object whose brace is written next, at `start`.
    pub(super) fn open(&self, start: usize) -> OpenObject {
        OpenObject { start, first: self.open.len() }
    }

    /// Adds the member whose key has been written from `start` to `key_end`.
    pub(super) fn begin(&mut self, start: usize, key_end: usize) {
        self.open.push(Member { start, key_end, end: key_end });
    }

    /// Notes that the value of the member begun last has been written, up to `end`.
    pub(super) fn end(&mut self, end: usize) {
        if let Some(member) = self.open.last_mut() {
            member.end = end;
        }
    }

    /// Closes the innermost object, which is the end of `written`.
    pub(super) fn close(&mut self, object: OpenObject, written: &[u8]) {
        let members = &self.open[object.first..];
        // Written keys may be compared as bytes, because each string has one written form.
        let key = |at: usize| unquoted(&written[members[at].start..members[at].key_end]);
        if !order::is_in_order(members.len(), key) {
            let order = order::order(members.len(), key);
            let place = |at: usize| members[at].start..members[at].end;
            self.disordered.push(Disordered {
                object: object.start..written.len(),
                members: order.into_iter().map(place).collect(),
            });
        }
        self.open.truncate(object.first);
    }

    /// The objects that have been closed and need another order.
    pub(super) fn into_disordered(self) -> Vec<Disordered> {
        self.disordered
    }
}

fn unquoted(key: &[u8]) -> &[u8] {
    &key[1..key.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disordered(written: &[u8], places: &[(usize, usize, usize)]) -> Vec<Disordered> {
        let mut members = Members::default();
        let object = members.open(0);
        for &(start, key_end, end) in places {
            members.begin(start, key_end);
            members.end(end);
        }
        members.close(object, written);
        members.into_disordered()
    }

    #[test]
    fn an_object_in_order_leaves_no_trace() {
        assert!(disordered(br#"{"a":1,"b":2}"#, &[(1, 4, 6), (7, 10, 12)]).is_empty());
        assert!(disordered(b"{}", &[]).is_empty());
    }

    #[test]
    fn an_object_out_of_order_is_noted_with_its_members_in_order() {
        let noted = disordered(br#"{"a":1,"0":2}"#, &[(1, 4, 6), (7, 10, 12)]);
        assert_eq!(noted[0].object, 0..13);
        assert_eq!(noted[0].members, [7..12, 1..6]);
    }
}
