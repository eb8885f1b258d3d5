//! WIRE section 4, field by field.

use super::*;

const WHOLE: [(&str, &str); 4] =
    [("device_session_id", "s-1"), ("user_id", "u-1"), ("client_public_key", "a2V5"), ("status", "active")];

fn read(fields: &[(&str, &str)]) -> Result<Snapshot, Malformed> {
    decode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))
}

/// [`WHOLE`] with one value replaced.
fn with(name: &str, value: &str) -> Vec<(&'static str, String)> {
    WHOLE.iter().map(|&(field, old)| (field, if field == name { value } else { old }.to_owned())).collect()
}

fn read_with(name: &str, value: &str) -> Result<Snapshot, Malformed> {
    let fields = with(name, value);
    read(&fields.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>())
}

#[test]
fn a_whole_entry_is_read_in_any_order() {
    let mut fields = WHOLE.to_vec();
    for _ in 0..WHOLE.len() {
        fields.rotate_left(1);
        let snapshot = read(&fields).unwrap();
        assert_eq!((&*snapshot.id, &*snapshot.user, &*snapshot.public_key), ("s-1", "u-1", "a2V5"));
        assert_eq!((snapshot.is_revoked, snapshot.revoked_at_ms), (false, None));
    }
    assert!(read_with("status", "revoked").unwrap().is_revoked);
}

#[test]
fn numbers_are_trimmed_and_must_be_integers() {
    let stamped = |value| read(&[WHOLE.as_slice(), &[("revoked_at_ms", value)]].concat());
    for (written, number) in [("1700000000000", 1_700_000_000_000), (" 7\t\n", 7), ("-1", -1), ("0", 0)] {
        assert_eq!(stamped(written).unwrap().revoked_at_ms, Some(number), "{written:?}");
    }
    for written in ["", " ", "1.0", "1e3", "0x1", "seven", "1 2", "9223372036854775808", "1_000", "\u{663}"] {
        let malformed = stamped(written).unwrap_err();
        assert_eq!(malformed.rule, "revoked_at_ms is no integer", "{written:?}");
        assert_eq!(malformed.names.as_deref(), Some("s-1"));
    }
}

#[test]
fn a_field_that_is_missing_or_empty_is_malformed() {
    for (name, _) in WHOLE {
        let without: Vec<_> = WHOLE.into_iter().filter(|(field, _)| *field != name).collect();
        let of_white_space = ["", " ", "\t\r\n", "\u{a0}\u{2003}"].map(|value| read_with(name, value));
        for malformed in of_white_space.into_iter().chain([read(&without)]) {
            let malformed = malformed.unwrap_err();
            assert!(malformed.rule.contains(name), "{name}: {malformed}");
            assert_eq!(malformed.names.is_some(), name != "device_session_id", "{name}");
        }
    }
    assert_eq!(read(&[]).unwrap_err().names, None);
}

#[test]
fn other_fields_and_repeated_ones_are_malformed() {
    for (more, rule) in [
        (("extra", "1"), "there is another field"),
        (("Status", "active"), "there is another field"),
        ((" status", "active"), "there is another field"),
        (("user_id", "u-1"), "a field is there twice"),
        (("device_session_id", "s-1"), "a field is there twice"),
    ] {
        for fields in [[WHOLE.as_slice(), &[more]].concat(), [&[more], WHOLE.as_slice()].concat()] {
            let malformed = read(&fields).unwrap_err();
            assert_eq!((malformed.names.as_deref(), malformed.rule), (Some("s-1"), rule), "{more:?}");
        }
    }
}

#[test]
fn the_status_is_one_of_two_words() {
    for status in ["ACTIVE", " active", "revoked ", "expired", "1", "active\0"] {
        assert_eq!(read_with("status", status).unwrap_err().rule, "status is neither active nor revoked", "{status:?}");
    }
}

#[test]
fn values_are_kept_as_they_are() {
    assert_eq!(&*read_with("user_id", " Ü:1 ").unwrap().user, " Ü:1 ");
    assert_eq!(&*read_with("device_session_id", "a\0b\n").unwrap().id, "a\0b\n");
    assert_eq!(&*read_with("client_public_key", "not base64!").unwrap().public_key, "not base64!");
}

#[test]
fn values_are_bounded() {
    for (name, max) in
        [("device_session_id", NAME_BYTES_MAX), ("user_id", NAME_BYTES_MAX), ("client_public_key", KEY_BYTES_MAX)]
    {
        assert!(read_with(name, &"x".repeat(max)).is_ok(), "{name}");
        assert!(read_with(name, &"x".repeat(max + 1)).is_err(), "{name}");
    }
}

#[test]
fn what_is_no_text_is_malformed_and_names_nobody() {
    let entry = |bad: &str| {
        let value = |name: &str, value: &'static str| if name == bad { b"\xff".as_slice() } else { value.as_bytes() };
        decode(WHOLE.iter().map(move |&(name, text)| (name.as_bytes(), value(name, text))))
    };
    for (name, _) in WHOLE {
        assert_eq!(entry(name).unwrap_err().names.is_some(), name != "device_session_id", "{name}");
    }
    assert!(decode([(b"\xff".as_slice(), b"1".as_slice())].into_iter()).is_err());
}

#[test]
fn many_fields_keep_the_name() {
    let many: Vec<_> = (0..100_000).map(|_| ("x", "y")).chain(WHOLE).collect();
    assert_eq!(read(&many).unwrap_err().names.as_deref(), Some("s-1"));
}
