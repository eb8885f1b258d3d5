//! Single values: of every type, from JSON and from bare text; patterns; tokens; keys.

use tidegate_model::{Detail, Element, Pattern, Token, Type, json, key};

/// The first byte chooses the type, the rest is the text. What is read must read back as itself.
pub fn value(data: &[u8]) {
    let Some((choice, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    // The first ten stand where the seeds have them.
    let kinds = [
        (Type::Bool, Detail::None),
        (Type::Int, Detail::None),
        (Type::Float, Detail::None),
        (Type::Decimal, Detail::None),
        (Type::Text, Detail::None),
        (Type::Bytes, Detail::None),
        (Type::Uuid, Detail::None),
        (Type::Timestamp, Detail::None),
        (Type::Date, Detail::None),
        (Type::Json, Detail::None),
        (Type::Time, Detail::None),
        (Type::Interval, Detail::None),
        (Type::Enum, Detail::Labels(["new", "done"].map(Into::into).into())),
        (Type::Text, Detail::Padded(3)),
    ];
    let arrays = Element::ALL.map(|element| (Type::Array(element), Detail::None));
    let kinds = [&kinds[..], &arrays].concat();
    let (kind, detail) = &kinds[usize::from(*choice) % kinds.len()];
    for value in [detail.value_from_json(*kind, text), detail.value_from_text(*kind, text)].into_iter().flatten() {
        let mut written = Vec::new();
        json::write_value(&value, &mut written);
        let written = String::from_utf8_lossy(&written).into_owned();
        let again = detail.value_from_json(*kind, &written);
        assert_eq!(again.as_ref(), Ok(&value), "{written}");
        assert_eq!(again.map(|again| key::encoded(&again)), Ok(key::encoded(&value)), "{written}");
    }
    for fold in [false, true] {
        if let Ok(pattern) = Pattern::new(text, fold) {
            let _ = (pattern.matches(text), pattern.prefix());
        }
    }
    if let Ok(token) = text.parse::<Token>() {
        assert_eq!(token.to_string().parse(), Ok(token));
    }
}
