use std::sync::Arc;

use proptest::prelude::*;
use prost::Message;
use tidegate_model::Tenant;
use tidegate_topics::{Data, Options, Topic};

use super::*;

const FORMS: [Form; 5] = [Form::Json, Form::JsonDelta, Form::Protobuf, Form::ProtobufDelta, Form::Bare];

fn record(offset: u64, data: impl Into<Vec<u8>>) -> Record {
    let topic = Topic { tenant: Tenant::common(), name: "ne\"ws".into(), options: Arc::new(Options::default()) };
    Record {
        topic: Arc::new(topic),
        kind: Kind::Message,
        offset,
        epoch: Arc::default(),
        key: None,
        removed: false,
        data: Data::Json(data.into().into()),
        client: None,
        tags: Box::default(),
        time_ms: 0,
    }
}

fn long(number: usize) -> String {
    format!(r#"{{"number":{number},"text":"{}"}}"#, "something that stays as it is ".repeat(3))
}

fn told(record: Record, previous: Option<Record>, form: Form) -> wire::Push {
    let bytes = push(&Publication::new(Arc::new(record), previous.map(Arc::new)), form);
    let reply = match form {
        Form::Json | Form::JsonDelta => serde_json::from_slice::<Reply>(&bytes).unwrap(),
        Form::Protobuf | Form::ProtobufDelta => Reply::decode_length_delimited(&*bytes).unwrap(),
        Form::Bare => return serde_json::from_slice(&bytes).unwrap(),
    };
    reply.push.unwrap()
}

#[test]
fn everything_of_a_record() {
    let client = ClientInfo { client: "c_1".into(), user: "u".into(), conn_info: Some("{}".into()), chan_info: None };
    let full = Record {
        key: Some("k".into()),
        client: Some(Arc::new(client)),
        tags: [("a".into(), "1".into())].into(),
        time_ms: 5,
        ..record(7, r#"{"x":1}"#)
    };
    let publication = Publication::new(Arc::new(full.clone()), None);
    assert_eq!(
        String::from_utf8(push(&publication, Form::Json)).unwrap(),
        r#"{"push":{"channel":"ne\"ws","pub":{"data":{"x":1},"info":{"user":"u","client":"c_1","conn_info":{}},"offset":7,"tags":{"a":"1"},"time":5,"key":"k"}}}"#,
    );
    assert_eq!(
        String::from_utf8(push(&publication, Form::JsonDelta)).unwrap(),
        r#"{"push":{"channel":"ne\"ws","pub":{"data":"{\"x\":1}","info":{"user":"u","client":"c_1","conn_info":{}},"offset":7,"tags":{"a":"1"},"time":5,"key":"k"}}}"#,
    );
    assert_eq!(told(full.clone(), None, Form::Json), told(full.clone(), None, Form::Protobuf));
    assert_eq!(told(full.clone(), None, Form::Json), told(full.clone(), None, Form::Bare));
    for (kind, name) in [(Kind::Join, "join"), (Kind::Leave, "leave")] {
        let record = Record { kind, data: Data::Json(Bytes::new()), ..full.clone() };
        let expected = format!(
            r#"{{"push":{{"channel":"ne\"ws","{name}":{{"info":{{"user":"u","client":"c_1","conn_info":{{}}}}}}}}}}"#
        );
        for form in [Form::Json, Form::JsonDelta] {
            assert_eq!(String::from_utf8(push_whole(&record, form)).unwrap(), expected);
        }
        assert_eq!(told(record.clone(), None, Form::Protobuf), told(record, None, Form::Json));
    }
}

#[test]
fn each_form_has_its_slot() {
    assert_eq!(FORMS.map(Form::slot), [1, 2, 3, 4, 6]);
}

#[test]
fn a_difference_to_what_it_takes_the_place_of() {
    for form in [Form::JsonDelta, Form::ProtobufDelta] {
        let delta = |record, previous| told(record, Some(previous), form).publication.unwrap().delta;
        let keyed = |record: Record, key: &str| Record { key: Some(key.into()), ..record };
        assert!(delta(record(8, long(2)), record(7, long(1))));
        assert!(delta(record(0, long(2)), record(0, long(1))));
        // Values of other keys may have come between.
        assert!(delta(keyed(record(9, long(2)), "a"), keyed(record(7, long(1)), "a")));
        assert!(!delta(record(8, long(2)), Record { removed: true, ..record(7, long(1)) }));
    }
    for form in [Form::Json, Form::Protobuf, Form::Bare] {
        assert!(!told(record(8, long(2)), Some(record(7, long(1))), form).publication.unwrap().delta);
    }
}

#[test]
fn what_json_cannot_carry() {
    for data in [&b"\xff"[..], b"{", b"not json"] {
        let record = Record { data: Data::Binary(data.to_vec().into()), ..record(1, "") };
        for form in FORMS {
            assert_eq!(
                push_whole(&record, form).is_empty(),
                !matches!(form, Form::Protobuf | Form::ProtobufDelta),
                "{form:?}"
            );
        }
    }
    // Whoever speaks protobuf may send JSON to those who do not.
    let record = Record { data: Data::Binary("[1]".into()), ..record(1, "") };
    assert_eq!(told(record, None, Form::Json).publication.unwrap().data, "[1]");
}

#[test]
fn removals_have_something_to_parse() {
    let removed = Record { removed: true, key: Some("k".into()), ..record(3, "") };
    assert_eq!(told(removed.clone(), None, Form::Json).publication.unwrap().data, "");
    assert_eq!(told(removed, None, Form::JsonDelta).publication.unwrap().data, "\"null\"");
}

/// JSON as clients send it, with characters of more than one byte and white space.
fn values() -> impl Strategy<Value = String> {
    (prop::collection::vec("[a-eé€😀\n\"]{0,30}", 0..12), any::<bool>()).prop_map(|texts| {
        let (texts, pretty) = texts;
        if pretty { serde_json::to_string_pretty(&texts).unwrap() } else { serde_json::to_string(&texts).unwrap() }
    })
}

proptest! {
    /// A client that applies what it is told, in each form, has what was published.
    #[test]
    fn clients_have_what_was_published(values in prop::collection::vec(values(), 1..8)) {
        let records: Vec<Record> = (1u64..).zip(&values).map(|(offset, value)| record(offset, value.clone())).collect();
        for form in FORMS {
            let mut base: Option<Vec<u8>> = None;
            for (index, record) in records.iter().enumerate() {
                let previous = index.checked_sub(1).map(|index| records[index].clone());
                let bytes = push_whole(record, Form::Json);
                prop_assert!(!bytes.contains(&b'\n') && !bytes.contains(&b'\r'));
                let publication = told(record.clone(), previous, form).publication.unwrap();
                let told: Vec<u8> = match form {
                    Form::JsonDelta => serde_json::from_slice::<String>(&publication.data).unwrap().into(),
                    _ => publication.data.to_vec(),
                };
                let now = if publication.delta {
                    fossil_delta::apply(base.as_deref().unwrap(), &told).unwrap()
                } else {
                    told
                };
                let value: serde_json::Value = serde_json::from_slice(&now).unwrap();
                prop_assert_eq!(value, serde_json::from_str::<serde_json::Value>(&values[index]).unwrap());
                base = Some(now);
            }
        }
    }
}
