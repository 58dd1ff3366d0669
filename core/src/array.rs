//! One-dimensional Postgres arrays, laid out once and then copied: an event row has three, and its recipients change far
//! less often than rows do.
//!
//! The layout is that of Postgres' `array.h`: length, dimensions, offset of the data (0 without NULLs), element type, size,
//! lower bound, then a bitmap of the elements that are not NULL, then the elements. All of it is made of words of four bytes.
//! Pure: it makes the bytes and knows no server.

use crate::signature::{MAC_BYTES, Signer};

const MAC_WORDS: usize = MAC_BYTES / 4;
/// Oids of element types, in `pg_type.dat`.
const INT4_OID: u32 = 23;
const BYTEA_OID: u32 = 17;

/// An array value.
pub struct Array(Vec<u32>);

impl Array {
    /// An `integer[]`.
    pub fn of_integers(numbers: &[i32]) -> Self {
        let mut array = Self::with_header(INT4_OID, numbers.len());
        array.0.extend(numbers.iter().map(|number| number.cast_unsigned()));
        array.finish()
    }

    fn with_header(element: u32, length: usize) -> Self {
        if length == 0 {
            return Self(vec![0, 0, 0, element]);
        }
        Self(vec![0, 1, 0, element, length as u32, 1])
    }

    fn finish(mut self) -> Self {
        set_length(&mut self.0);
        self
    }

    /// The value, good for as long as the array is.
    pub fn as_ptr(&self) -> *const u32 {
        self.0.as_ptr()
    }
}

/// A `bytea[]` of signatures, with a place for each signer's and NULL for those who do not sign.
pub struct Signatures {
    blank: Array,
    /// The offset of each signature, in words, with its signer.
    places: Vec<(usize, Signer)>,
}

impl Signatures {
    /// Lays the array out for recipients in this order.
    pub fn by(signers: &[Option<Signer>]) -> Self {
        let mut array = Array::with_header(BYTEA_OID, signers.len());
        if signers.iter().any(Option::is_none) {
            let bitmap = signers.chunks(32).map(|chunk| {
                let bits = chunk.iter().enumerate().filter(|(_, signer)| signer.is_some());
                // The bitmap is one of bytes: the first element's bit is the first byte's lowest.
                u32::from_ne_bytes(bits.fold(0u32, |word, (place, _)| word | 1 << place).to_le_bytes())
            });
            array.0.extend(bitmap);
            // The data begin at a multiple of eight bytes.
            array.0.resize(array.0.len().next_multiple_of(2), 0);
            array.0[2] = (array.0.len() * 4) as u32;
        }
        let mut places = Vec::new();
        for signer in signers.iter().flatten() {
            let at = array.0.len();
            array.0.resize(at + 1 + MAC_WORDS, 0);
            set_length(&mut array.0[at..]);
            places.push((at + 1, signer.clone()));
        }
        Self { blank: array.finish(), places }
    }

    /// Signs a body: the array with each signer's signature.
    pub fn sign(&self, body: &[u8]) -> Array {
        let mut words = self.blank.0.clone();
        for (at, signer) in &self.places {
            let mac = signer.sign(&[body]);
            for (word, bytes) in words[*at..].iter_mut().zip(mac.as_chunks::<4>().0) {
                *word = u32::from_ne_bytes(*bytes);
            }
        }
        Array(words)
    }
}

/// Makes the first word say how long the whole value is, as a varlena's four-byte header does.
fn set_length(words: &mut [u32]) {
    let bytes = (words.len() * 4) as u32;
    words[0] = if cfg!(target_endian = "big") { bytes } else { bytes << 2 };
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER_WORDS: usize = 6;

    #[cfg(target_endian = "little")]
    fn length(words: &[u32]) -> usize {
        (words[0] >> 2) as usize
    }

    #[cfg(target_endian = "big")]
    fn length(words: &[u32]) -> usize {
        words[0] as usize
    }

    #[test]
    fn integers_follow_a_header_of_24_bytes() {
        let Array(words) = Array::of_integers(&[7, -1]);
        assert_eq!(length(&words), 32);
        assert_eq!(words[1..], [1, 0, 23, 2, 1, 7, u32::MAX]);
    }

    #[test]
    fn an_empty_array_has_no_dimension() {
        let Array(words) = Array::of_integers(&[]);
        assert_eq!((length(&words), &words[1..]), (16, &[0, 0, 23][..]));
    }

    #[test]
    fn each_signature_is_a_bytea_of_32_bytes() {
        let signer = Signer::plain("secret");
        let Array(words) = Signatures::by(&[Some(signer.clone()), Some(Signer::plain("other"))]).sign(b"body");
        assert_eq!(length(&words), 24 + 2 * 36);
        assert_eq!(length(&words[HEADER_WORDS..]), 36);
        let bytes: Vec<u8> =
            words[HEADER_WORDS + 1..][..MAC_WORDS].iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(bytes, signer.sign(&[b"body"]));
    }

    #[test]
    fn who_does_not_sign_is_null_in_the_bitmap() {
        let signer = Some(Signer::plain("secret"));
        let Array(words) = Signatures::by(&[None, signer.clone(), None]).sign(b"body");
        assert_eq!(words[2], 32, "the data begin behind the bitmap, at a multiple of eight");
        assert_eq!(words[HEADER_WORDS].to_ne_bytes(), [0b010, 0, 0, 0]);
        assert_eq!(length(&words), 32 + 36);
        assert_eq!(Signatures::by(&vec![signer; 40]).sign(b"body").0[2], 0, "no bitmap where nothing is NULL");
    }
}
