//! A column's value as JSON, by its type.
//!
//! What a session has set (DateStyle, search_path, bytea_output and the like) never shows in an event.

use std::ffi::CStr;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use webhooks_core::{json, time};

use super::output::Output;
use crate::postgres::{attribute, held_columns};

/// A value that would take what is written beyond the limit. What has been written of it is to be thrown away.
pub struct TooLong;

/// How values of a type are written.
#[derive(Clone)]
pub enum Writer {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric(Output),
    Money,
    /// text, varchar: the value's bytes are its text.
    Text,
    /// char(n): the same without the blanks that fill it up, as a cast to text leaves them out.
    Char,
    /// json and jsonb, by their output function.
    Json(Output),
    Bytea,
    Date,
    Timestamp,
    TimestampTz,
    Array(Box<Element>),
    /// A row type: an object of its columns.
    Row,
    /// Any other type: a string of what its output function prints.
    Printed(Output),
}

/// The element type of an array.
#[derive(Clone)]
pub struct Element {
    oid: pg_sys::Oid,
    length: i16,
    by_value: bool,
    align: std::ffi::c_char,
    writer: Writer,
}

impl Writer {
    /// The writer for a type; a domain is written as what it is based on.
    pub fn of(type_oid: pg_sys::Oid) -> Self {
        // SAFETY: look-ups in the catalogue for the type of an existing column.
        unsafe {
            let base = pg_sys::getBaseType(type_oid);
            match base {
                pg_sys::BOOLOID => Self::Bool,
                pg_sys::INT2OID => Self::Int2,
                pg_sys::INT4OID => Self::Int4,
                pg_sys::INT8OID => Self::Int8,
                pg_sys::FLOAT4OID => Self::Float4,
                pg_sys::FLOAT8OID => Self::Float8,
                pg_sys::NUMERICOID => Self::Numeric(Output::of(base)),
                pg_sys::MONEYOID => Self::Money,
                pg_sys::TEXTOID | pg_sys::VARCHAROID => Self::Text,
                pg_sys::BPCHAROID => Self::Char,
                pg_sys::JSONOID | pg_sys::JSONBOID => Self::Json(Output::of(base)),
                pg_sys::BYTEAOID => Self::Bytea,
                pg_sys::DATEOID => Self::Date,
                pg_sys::TIMESTAMPOID => Self::Timestamp,
                pg_sys::TIMESTAMPTZOID => Self::TimestampTz,
                _ if pg_sys::get_element_type(base) != pg_sys::InvalidOid => {
                    Self::array(pg_sys::get_element_type(base))
                }
                _ if pg_sys::get_typtype(base) as u8 == pg_sys::TYPTYPE_COMPOSITE => Self::Row,
                _ => Self::Printed(Output::of(base)),
            }
        }
    }

    fn array(element: pg_sys::Oid) -> Self {
        let (mut length, mut by_value, mut align) = (0, false, 0);
        // SAFETY: writes the three facts of an existing type.
        unsafe { pg_sys::get_typlenbyvalalign(element, &mut length, &mut by_value, &mut align) };
        Self::Array(Box::new(Element { oid: element, length, by_value, align, writer: Self::of(element) }))
    }

    /// Appends a value that is not NULL, unless `out` would be longer than `limit`.
    ///
    /// # Safety
    /// The value is of the type that this writer was made for.
    pub unsafe fn push(&self, out: &mut Vec<u8>, value: pg_sys::Datum, limit: usize) -> Result<(), TooLong> {
        // SAFETY: the caller's promise, for each arm.
        unsafe {
            match self {
                Self::Bool => json::push_bool(out, value.value() as u8 != 0),
                Self::Int2 => json::push_i64(out, i64::from(value.value() as i16)),
                Self::Int4 => json::push_i64(out, i64::from(value.value() as i32)),
                Self::Int8 => json::push_i64(out, value.value() as i64),
                Self::Float4 => json::push_f32(out, f32::from_bits(value.value() as u32)),
                Self::Float8 => json::push_f64(out, f64::from_bits(value.value() as u64)),
                Self::Numeric(output) => output.print(value, |text| json::push_decimal(out, &json::utf8(text))),
                Self::Money => push_money(out, value.value() as i64),
                Self::Text => return bytes(value, |text| push_text(out, text, limit)),
                Self::Char => return bytes(value, |text| push_text(out, without_blanks(text), limit)),
                Self::Json(output) => return output.print(value, |text| push_json(out, text, limit)),
                Self::Bytea => return push_bytea(out, value, limit),
                Self::Date => push_date(out, value),
                Self::Timestamp => push_timestamp(out, value, ""),
                Self::TimestampTz => push_timestamp(out, value, "Z"),
                Self::Array(element) => return element.push_array(out, value, limit),
                Self::Row => return push_row(out, value, limit),
                Self::Printed(output) => return output.print(value, |text| push_text(out, text, limit)),
            }
        }
        Ok(())
    }
}

/// Makes room for `length` bytes of Postgres', each of which takes at most six once written, if they may be written at all.
/// Where there is no memory, the statement fails as at any other lack of it; a `Vec` that grows by itself would end the server.
pub fn make_room(out: &mut Vec<u8>, length: usize, limit: usize) -> Result<(), TooLong> {
    const SMALL: usize = 8192;
    if out.len() + length > limit {
        return Err(TooLong);
    }
    if length > SMALL && out.try_reserve(6 * length + 2).is_err() {
        let report = ErrorReport::new(PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY, "out of memory", pgrx::function_name!());
        let detail = format!("pg_webhooks failed on a request for {} bytes for a message.", 6 * length);
        report.set_detail(detail).report(PgLogLevel::ERROR);
    }
    Ok(())
}

/// Appends a text as a string, unless `out` would be longer than `limit`.
pub fn push_text(out: &mut Vec<u8>, text: &[u8], limit: usize) -> Result<(), TooLong> {
    make_room(out, text.len(), limit)?;
    json::push_string(out, &json::utf8(text));
    Ok(())
}

fn push_json(out: &mut Vec<u8>, text: &[u8], limit: usize) -> Result<(), TooLong> {
    make_room(out, text.len(), limit)?;
    let text = json::utf8_json(text);
    if json::push_json(out, &text).is_err() {
        json::push_string(out, &text);
    }
    Ok(())
}

/// Appends what an output function prints as a string.
///
/// # Safety
/// The value is of the function's type.
unsafe fn print(out: &mut Vec<u8>, output: Output, value: pg_sys::Datum) {
    // SAFETY: the caller's promise.
    unsafe { output.print(value, |text| json::push_string(out, &json::utf8(text))) }
}

/// What the type's output function prints; that of a char(n) without the blanks that fill it up. `None` if it is longer than
/// `limit`.
///
/// # Safety
/// The value is of the type.
pub unsafe fn printed_text(type_oid: pg_sys::Oid, value: pg_sys::Datum, limit: usize) -> Option<String> {
    // SAFETY: the caller's promise.
    unsafe {
        if size(value, pg_sys::get_typlen(type_oid)) > limit {
            return None;
        }
        let is_char = pg_sys::getBaseType(type_oid) == pg_sys::BPCHAROID;
        Output::of(type_oid).print(value, |printed| {
            let text = if is_char { without_blanks(printed) } else { printed };
            (text.len() <= limit).then(|| json::utf8(text).into_owned())
        })
    }
}

/// How many bytes a value has, told without reading it where it is compressed or stored out of line. The length is that of its
/// type, as in pg_type.
///
/// # Safety
/// The value is of a type of that length.
pub unsafe fn size(value: pg_sys::Datum, length: i16) -> usize {
    match length {
        // SAFETY: a varlena.
        -1 => unsafe {
            let held = value.cast_mut_ptr();
            if is_plain(held) {
                pgrx::varsize_any_exhdr(held)
            } else {
                pg_sys::toast_raw_datum_size(value) - pg_sys::VARHDRSZ
            }
        },
        // SAFETY: a C string.
        -2 => unsafe { CStr::from_ptr(value.cast_mut_ptr()).count_bytes() },
        fixed => fixed.unsigned_abs().into(),
    }
}

fn without_blanks(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    &text[..end]
}

/// A number with two digits after the point. How many the currency has is a setting of the session (lc_monetary), and not
/// part of the value.
fn push_money(out: &mut Vec<u8>, hundredths: i64) {
    let sign = if hundredths < 0 { "-" } else { "" };
    let magnitude = hundredths.unsigned_abs();
    json::push_decimal(out, &format!("{sign}{}.{:02}", magnitude / 100, magnitude % 100));
}

/// Whether a varlena is neither compressed nor stored out of line.
///
/// # Safety
/// It is a varlena.
unsafe fn is_plain(value: *const pg_sys::varlena) -> bool {
    // SAFETY: the caller's promise.
    unsafe { !pgrx::varatt_is_1b_e(value) && !pgrx::varatt_is_4b_c(value) }
}

/// Calls `use_bytes` with the bytes of a varlena, out of line and compressed ones included.
///
/// # Safety
/// The value is a varlena.
unsafe fn bytes<T>(value: pg_sys::Datum, use_bytes: impl FnOnce(&[u8]) -> T) -> T {
    // SAFETY: the caller's promise; a detoasted copy is freed after its use.
    unsafe {
        let original = value.cast_mut_ptr::<pg_sys::varlena>();
        let plain = if is_plain(original) { original } else { pg_sys::pg_detoast_datum_packed(original) };
        let length = pgrx::varsize_any_exhdr(plain);
        let used = use_bytes(std::slice::from_raw_parts(pgrx::vardata_any(plain).cast(), length));
        if plain != original {
            pg_sys::pfree(plain.cast());
        }
        used
    }
}

/// `"\\x00ff"`: Postgres' hex format.
unsafe fn push_bytea(out: &mut Vec<u8>, value: pg_sys::Datum, limit: usize) -> Result<(), TooLong> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let push = |bytes: &[u8]| {
        make_room(out, 2 * bytes.len(), limit)?;
        out.extend_from_slice(b"\"\\\\x");
        out.extend(bytes.iter().flat_map(|byte| [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]));
        out.push(b'"');
        Ok(())
    };
    // SAFETY: a bytea is a varlena.
    unsafe { bytes(value, push) }
}

unsafe fn push_date(out: &mut Vec<u8>, value: pg_sys::Datum) {
    let start = out.len();
    out.push(b'"');
    if time::push_date(out, value.value() as i32) {
        out.push(b'"');
    } else {
        out.truncate(start);
        // SAFETY: the value is a date.
        unsafe { print(out, Output::of(pg_sys::DATEOID), value) }
    }
}

/// ISO 8601; infinity and years that ISO 8601 writes otherwise as Postgres prints them.
unsafe fn push_timestamp(out: &mut Vec<u8>, value: pg_sys::Datum, zone: &str) {
    let start = out.len();
    out.push(b'"');
    if time::push_timestamp(out, value.value() as i64) {
        out.extend_from_slice(zone.as_bytes());
        out.push(b'"');
    } else {
        out.truncate(start);
        // SAFETY: both timestamp types are the same number; without a zone it prints as UTC.
        unsafe { print(out, Output::of(pg_sys::TIMESTAMPOID), value) }
    }
}

impl Element {
    /// Appends an array, nested by its dimensions.
    ///
    /// # Safety
    /// The value is an array of this element type.
    unsafe fn push_array(&self, out: &mut Vec<u8>, value: pg_sys::Datum, limit: usize) -> Result<(), TooLong> {
        // SAFETY: deconstruct_array fills the two lists, as long as it says; the dimensions lie behind the header.
        unsafe {
            let array = pg_sys::pg_detoast_datum(value.cast_mut_ptr()).cast::<pg_sys::ArrayType>();
            let (mut values, mut nulls, mut length) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
            pg_sys::deconstruct_array(
                array,
                self.oid,
                self.length.into(),
                self.by_value,
                self.align,
                &mut values,
                &mut nulls,
                &mut length,
            );
            if length == 0 {
                out.extend_from_slice(b"[]");
                return Ok(());
            }
            let sizes = std::slice::from_raw_parts(array.add(1).cast::<i32>(), (*array).ndim as usize);
            for index in 0..length as usize {
                if index > 0 {
                    out.push(b',');
                }
                // A bracket opens for each dimension whose first element this is, and closes after its last.
                out.extend(inner_sizes(sizes).filter(|size| index % size == 0).map(|_| b'['));
                if *nulls.add(index) {
                    json::push_null(out);
                } else {
                    self.writer.push(out, *values.add(index), limit)?;
                }
                out.extend(inner_sizes(sizes).filter(|size| (index + 1) % size == 0).map(|_| b']'));
                if out.len() > limit {
                    return Err(TooLong);
                }
            }
        }
        Ok(())
    }
}

/// For each dimension, how many elements one array of it holds.
fn inner_sizes(sizes: &[i32]) -> impl Iterator<Item = usize> {
    (0..sizes.len()).map(|from| sizes[from..].iter().map(|size| *size as usize).product())
}

/// # Safety
/// The value is of a row type.
unsafe fn push_row(out: &mut Vec<u8>, value: pg_sys::Datum, limit: usize) -> Result<(), TooLong> {
    // SAFETY: a row value says its type in its header; its descriptor is released after the last use.
    unsafe {
        let header = pg_sys::pg_detoast_datum(value.cast_mut_ptr()).cast::<pg_sys::HeapTupleHeaderData>();
        let datum_fields = (*header).t_choice.t_datum;
        let descriptor = pg_sys::lookup_rowtype_tupdesc(datum_fields.datum_typeid, datum_fields.datum_typmod);
        let mut tuple = pg_sys::HeapTupleData {
            t_len: pgrx::varsize_any(header.cast()) as u32,
            t_data: header,
            ..Default::default()
        };
        let count = (*descriptor).natts as usize;
        let (mut values, mut nulls) = (vec![pg_sys::Datum::from(0); count], vec![true; count]);
        pg_sys::heap_deform_tuple(&mut tuple, descriptor, values.as_mut_ptr(), nulls.as_mut_ptr());

        let columns: Vec<_> = held_columns(descriptor).collect();
        let names: Vec<&str> = columns.iter().map(|(_, name)| name.as_ref()).collect();
        let mut object = json::ObjectWriter::open(out);
        let mut written = Ok(());
        for place in json::property_order(&names) {
            let (index, ref name) = columns[place];
            let out = object.key(name);
            if nulls[index] {
                json::push_null(out);
            } else {
                written = Writer::of(attribute(descriptor, index).atttypid).push(out, values[index], limit);
            }
            if written.is_err() {
                break;
            }
        }
        object.close();
        if (*descriptor).tdrefcount >= 0 {
            pg_sys::DecrTupleDescRefCount(descriptor);
        }
        written
    }
}
