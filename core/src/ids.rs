//! The ids that users see: `wh_…` for a message, `ep_…` for an endpoint, `tk_…` for a token.
//!
//! A message's id carries its position in the log, so that finding it by id needs no index of its own, and 48 random
//! bits of the writing session, so that a cluster restored to an earlier point never gives the same id to another
//! message. The letters sort as the numbers do.

const ALPHABET: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
const DIGITS: usize = 26; // 128 bits, five a letter

/// Where an event stands in the log, with what makes its id unique beyond this cluster's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The top-level transaction; 48 bits, which at a million transactions a second last nine years.
    pub xid: u64,
    /// Which of the transaction's events, from 0.
    pub seq: u32,
    /// 48 random bits, the same for all events of a session.
    pub nonce: u64,
}

/// The `wh_…` id of the event at a position.
pub fn webhook_id(position: Position) -> String {
    let bits =
        u128::from(position.xid) << 80 | u128::from(position.seq) << 48 | u128::from(position.nonce & 0xffff_ffff_ffff);
    prefixed("wh_", bits)
}

/// The position inside a `wh_…` id; `None` for what is no such id.
pub fn position(id: &str) -> Option<Position> {
    let bits = number(id.strip_prefix("wh_")?)?;
    Some(Position { xid: (bits >> 80) as u64, seq: (bits >> 48) as u32, nonce: bits as u64 & 0xffff_ffff_ffff })
}

/// An `ep_…` id of 128 random bits.
pub fn endpoint_id(random: u128) -> String {
    prefixed("ep_", random)
}

/// Whether a text is what follows the prefix of an id.
pub fn is_number(letters: &str) -> bool {
    number(letters).is_some()
}

fn number(letters: &str) -> Option<u128> {
    if letters.len() != DIGITS {
        return None;
    }
    letters.bytes().try_fold(0_u128, |bits, letter| {
        let value = ALPHABET.iter().position(|known| *known == letter)? as u128;
        bits.checked_mul(32)?.checked_add(value)
    })
}

/// The number in letters that sort as numbers do, behind a prefix.
pub fn prefixed(prefix: &str, bits: u128) -> String {
    let (mut letters, mut rest) = ([0; DIGITS], bits);
    for letter in letters.iter_mut().rev() {
        *letter = ALPHABET[(rest & 31) as usize];
        rest >>= 5;
    }
    let letters = str::from_utf8(&letters).expect("the letters are ASCII");
    [prefix, letters].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_gives_back_its_position() {
        for position_in in [
            Position { xid: 0, seq: 0, nonce: 0 },
            Position { xid: 731, seq: 49_999, nonce: 0x1234_5678_9abc },
            Position { xid: 0xffff_ffff_ffff, seq: u32::MAX, nonce: 0xffff_ffff_ffff },
        ] {
            assert_eq!(position(&webhook_id(position_in)), Some(position_in));
        }
    }

    #[test]
    fn ids_sort_as_their_positions_do() {
        let id = |xid, seq| webhook_id(Position { xid, seq, nonce: 0xffff_ffff_ffff - xid });
        assert!(id(9, 7) < id(9, 8) && id(9, u32::MAX) < id(10, 0) && id(31, 0) < id(32, 0));
    }

    #[test]
    fn what_is_no_id_has_no_position() {
        for text in ["", "wh_", "ep_00000000000000000000000000", "wh_zzzzzzzzzzzzzzzzzzzzzzzzzz", "wh_0é"] {
            assert_eq!(position(text), None, "{text}");
        }
    }

    #[test]
    fn no_id_has_a_dot() {
        assert!(ALPHABET.iter().all(u8::is_ascii_alphanumeric));
    }
}
