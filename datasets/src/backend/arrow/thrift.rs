//! Thrift's compact protocol, in which Parquet describes itself: any message becomes a [`Value`].

use super::bits::varint;
use super::{DEEPEST, Fault, Found};

/// Part of a message.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    /// a boolean or an integer
    Int(i64),
    /// text, or other bytes
    Bytes(&'a [u8]),
    List(Vec<Value<'a>>),
    /// fields by number
    Fields(Vec<(i16, Value<'a>)>),
    /// of a kind that no field that is read here has
    Other,
}

const CUT: Fault = Fault::Damaged("its description is cut short");
const BAD: Fault = Fault::Damaged("its description cannot be followed");

impl<'a> Value<'a> {
    /// Reads one structure and leaves what follows it.
    pub fn structure(bytes: &mut &'a [u8]) -> Found<Value<'a>> {
        fields(bytes, DEEPEST)
    }

    pub fn field(&self, number: i16) -> Option<&Value<'a>> {
        match self {
            Value::Fields(fields) => fields.iter().find(|(n, _)| *n == number).map(|(_, value)| value),
            _ => None,
        }
    }

    /// A field that is an integer or a boolean.
    pub fn int(&self, number: i16) -> Option<i64> {
        match self.field(number)? {
            Value::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// A field that must be there, and counts something.
    pub fn count(&self, number: i16) -> Found<u64> {
        self.int(number).and_then(|n| u64::try_from(n).ok()).ok_or(BAD)
    }

    pub fn text(&self, number: i16) -> Found<String> {
        match self.field(number) {
            Some(Value::Bytes(bytes)) => Ok(String::from_utf8_lossy(bytes).into_owned()),
            _ => Err(BAD),
        }
    }

    pub fn list(&self, number: i16) -> Found<&[Value<'a>]> {
        match self.field(number) {
            Some(Value::List(values)) => Ok(values),
            _ => Err(BAD),
        }
    }
}

fn fields<'a>(bytes: &mut &'a [u8], deep: usize) -> Found<Value<'a>> {
    let (mut out, mut number) = (Vec::new(), 0i16);
    loop {
        let head = *bytes.split_off_first().ok_or(CUT)?;
        if head == 0 {
            return Ok(Value::Fields(out));
        }
        number = match head >> 4 {
            0 => i16::try_from(zigzag(bytes)?).map_err(|_| BAD)?,
            more => number.checked_add(i16::from(more)).ok_or(BAD)?,
        };
        let value = match head & 15 {
            // A field's type is its value.
            kind @ (1 | 2) => Value::Int(i64::from(kind == 1)),
            kind => value(bytes, kind, deep)?,
        };
        out.push((number, value));
    }
}

fn value<'a>(bytes: &mut &'a [u8], kind: u8, deep: usize) -> Found<Value<'a>> {
    let deeper = deep.checked_sub(1).ok_or(BAD)?;
    Ok(match kind {
        // In lists a boolean is a byte.
        1 | 2 => Value::Int(i64::from(bytes.split_off_first() == Some(&1))),
        3 => Value::Int(i64::from(*bytes.split_off_first().ok_or(CUT)? as i8)),
        4..=6 => Value::Int(zigzag(bytes)?),
        7 => bytes.split_off(..8).map(|_| Value::Other).ok_or(CUT)?,
        8 => {
            let length = usize::try_from(varint(bytes)?).map_err(|_| CUT)?;
            Value::Bytes(bytes.split_off(..length).ok_or(CUT)?)
        }
        9 | 10 => {
            let head = *bytes.split_off_first().ok_or(CUT)?;
            let count = match head >> 4 {
                15 => varint(bytes)?,
                count => u64::from(count),
            };
            // Every element takes a byte at least.
            if count > bytes.len() as u64 {
                return Err(CUT);
            }
            let elements = (0..count).map(|_| value(bytes, head & 15, deeper));
            Value::List(elements.collect::<Found<_>>()?)
        }
        11 => {
            let count = varint(bytes)?;
            if count > 0 {
                let kinds = *bytes.split_off_first().ok_or(CUT)?;
                if count > bytes.len() as u64 {
                    return Err(CUT);
                }
                for _ in 0..count {
                    value(bytes, kinds >> 4, deeper)?;
                    value(bytes, kinds & 15, deeper)?;
                }
            }
            Value::Other
        }
        12 => fields(bytes, deeper)?,
        _ => return Err(BAD),
    })
}

fn zigzag(bytes: &mut &[u8]) -> Found<i64> {
    let n = varint(bytes)?;
    Ok((n >> 1) as i64 ^ -((n & 1) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_to_their_end() {
        // Field 1: -3; field 2: true; field 20: two texts; field 21: a structure with field 1: 1.5.
        let bytes = [
            0x15, 5, 0x11, 0x09, 40, 0x28, 1, b'a', 2, b'b', b'c', 0x1c, 0x17, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f,
            0, 0, 7,
        ];
        let mut rest = &bytes[..];
        let got = Value::structure(&mut rest).expect("a message");
        assert_eq!((got.int(1), got.int(2), rest), (Some(-3), Some(1), &[7][..]));
        assert_eq!(got.list(20).expect("a list"), [Value::Bytes(b"a"), Value::Bytes(b"bc")]);
        assert_eq!(got.field(21).and_then(|inner| inner.field(1)), Some(&Value::Other));
        assert!(got.count(1).is_err() && got.list(1).is_err() && got.text(7).is_err());
        for cut in 0..bytes.len() - 1 {
            assert!(Value::structure(&mut &bytes[..cut]).is_err(), "{cut}");
        }
        assert!(Value::structure(&mut &[0x1c; 100][..]).is_err(), "deeper than anything");
    }
}
