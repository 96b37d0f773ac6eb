//! What a node was configured with, as it tells it to a client at the nodes' port.
//!
//! ```text
//!   | shared u8 | said u8 | 0 0 | mark u32 | name u16 | value u16 | origin u16 | 0 0 |
//!   | the name | the value | the origin |              these again for each setting
//! ```
//! Whoever starts a node knows what its settings are called and where each was said; here they are
//! words that are repeated. What nobody may see is not among them: it is left out, or has words that
//! do not tell it, before it comes here.
//!
//! There is one way to write a setting, and whatever else is read is refused, as with packets
//! (`codec.rs`).
//!
//! Not here: which settings there are and what may be seen of them (the program that starts nodes).

use bytes::{BufMut, Bytes, BytesMut};
use trilith_engine::codec::Reader;

use crate::{
    frame::BadFrame,
    limits::{
        SETTING_NAME_BYTES_MAX, SETTING_ORIGIN_BYTES_MAX, SETTING_VALUE_BYTES_MAX, SETTINGS_MAX,
    },
};

/// One setting of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// What it is called.
    pub name: String,
    /// Whether all nodes of a cluster must say the same.
    pub is_shared: bool,
    /// What was said, as far as it may be seen; nothing where nothing was.
    pub value: Option<String>,
    /// Where.
    pub origin: String,
    /// Nodes that say the same have the same mark, also where the value does not tell all.
    pub mark: u32,
}

/// As much of a text as there is room for.
fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// All of them as a body. What is too long is cut, and what are too many are left out.
#[must_use]
pub fn encode(all: &[Setting]) -> Bytes {
    let mut out = BytesMut::new();
    for setting in all.iter().take(SETTINGS_MAX) {
        let words = [
            cut(&setting.name, SETTING_NAME_BYTES_MAX),
            cut(setting.value.as_deref().unwrap_or(""), SETTING_VALUE_BYTES_MAX),
            cut(&setting.origin, SETTING_ORIGIN_BYTES_MAX),
        ];
        let flags = [setting.is_shared, setting.value.is_some()].map(u8::from);
        out.put_slice(&[flags[0], flags[1], 0, 0]);
        out.put_u32_le(setting.mark);
        // The limits are below what 16 bits hold.
        words.iter().for_each(|word| out.put_u16_le(word.len() as u16));
        out.put_slice(&[0, 0]);
        words.iter().for_each(|word| out.put_slice(word.as_bytes()));
    }
    out.freeze()
}

/// The settings of a body.
///
/// # Errors
/// When it says something else.
pub fn decode(body: &[u8]) -> Result<Vec<Setting>, BadFrame> {
    let mut reader = Reader::new(body);
    let mut all = Vec::new();
    while !reader.rest().is_empty() {
        if all.len() == SETTINGS_MAX {
            return Err(BadFrame::Body("more settings than a node has"));
        }
        all.push(one(&mut reader)?);
    }
    Ok(all)
}

fn one(reader: &mut Reader<'_>) -> Result<Setting, BadFrame> {
    let (is_shared, is_said) = match reader.array::<4>()? {
        [shared @ 0..=1, said @ 0..=1, 0, 0] => (shared == 1, said == 1),
        _ => return Err(BadFrame::Body("no setting")),
    };
    let mark = reader.u32()?;
    let lengths = [reader.u16()?, reader.u16()?, reader.u16()?].map(usize::from);
    let most = [SETTING_NAME_BYTES_MAX, SETTING_VALUE_BYTES_MAX, SETTING_ORIGIN_BYTES_MAX];
    let is_long = lengths.iter().zip(most).any(|(length, most)| *length > most);
    if is_long || reader.array::<2>()? != [0, 0] || (!is_said && lengths[1] > 0) {
        return Err(BadFrame::Body("no setting"));
    }
    let [name, value, origin] = lengths;
    let (name, value) = (text(reader, name)?, text(reader, value)?);
    let origin = text(reader, origin)?;
    Ok(Setting { name, is_shared, value: is_said.then_some(value), origin, mark })
}

fn text(reader: &mut Reader<'_>, length: usize) -> Result<String, BadFrame> {
    let bytes = reader.take(length)?.to_vec();
    String::from_utf8(bytes).map_err(|_why| BadFrame::Body("a setting that is no text"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn setting(name: &str, value: Option<&str>) -> Setting {
        let value = value.map(str::to_owned);
        Setting { name: name.into(), is_shared: true, value, origin: "default".into(), mark: 7 }
    }

    #[test]
    fn what_is_too_long_is_cut_between_letters_and_what_are_too_many_are_left_out() {
        let long = "ä".repeat(SETTING_VALUE_BYTES_MAX);
        let read = decode(&encode(&[setting("x", Some(&long)), setting("y", None)])).unwrap();
        assert_eq!(read[0].value.as_ref().map(String::len), Some(SETTING_VALUE_BYTES_MAX));
        let odd = format!("a{long}");
        let read = decode(&encode(&[setting("x", Some(&odd))])).unwrap();
        assert_eq!(read[0].value.as_ref().map(String::len), Some(SETTING_VALUE_BYTES_MAX - 1));
        let many = vec![setting("x", None); SETTINGS_MAX + 1];
        let mut whole = encode(&many).to_vec();
        assert_eq!(decode(&whole).unwrap().len(), SETTINGS_MAX);
        whole.extend_from_slice(&encode(&many[..1]));
        assert_eq!(decode(&whole), Err(BadFrame::Body("more settings than a node has")));
    }

    #[test]
    fn what_was_not_said_has_no_value() {
        let all = [setting("a", None), setting("b", Some("")), setting("c", Some("1"))];
        assert_eq!(decode(&encode(&all)).unwrap(), all);
        let mut body = encode(&all[2..]).to_vec();
        body[1] = 0;
        assert_eq!(decode(&body), Err(BadFrame::Body("no setting")));
        assert_eq!(decode(&[]).unwrap(), []);
    }

    proptest! {
        #[test]
        fn there_is_one_way_to_write_what_is_read(mut body: Vec<u8>, tame: bool) {
            if tame && body.len() > 16 {
                let rest = (body.len() - 16) as u8;
                body[..4].copy_from_slice(&[1, 1, 0, 0]);
                body[8..16].copy_from_slice(&[0, 0, rest, 0, 0, 0, 0, 0]);
                body[16..].iter_mut().for_each(|byte| *byte &= 0x7f);
            }
            if let Ok(all) = decode(&body) {
                prop_assert_eq!(&encode(&all)[..], &body[..]);
            }
        }

        #[test]
        fn what_is_cut_short_is_refused(name: String, value: Option<String>, cut: usize) {
            let whole = encode(&[setting(&name, value.as_deref())]);
            let cut = 1 + cut % (whole.len() - 1);
            prop_assert!(decode(&whole[..cut]).is_err());
            prop_assert_eq!(decode(&whole).unwrap().len(), 1);
        }
    }
}
