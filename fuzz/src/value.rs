//! Single values: of every type, from JSON and from bare text; patterns; tokens; keys.

use tidegate_model::{Pattern, Token, Type, Value, json, key};

/// The first byte chooses the type, the rest is the text. What is read must read back as itself.
pub fn value(data: &[u8]) {
    let Some((choice, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let kind = match choice % 10 {
        0 => Type::Bool,
        1 => Type::Int,
        2 => Type::Float,
        3 => Type::Decimal,
        4 => Type::Text,
        5 => Type::Bytes,
        6 => Type::Uuid,
        7 => Type::Timestamp,
        8 => Type::Date,
        _ => Type::Json,
    };
    for value in [Value::from_json(kind, text), Value::from_text(kind, text)].into_iter().flatten() {
        let mut written = Vec::new();
        json::write_value(&value, &mut written);
        let written = String::from_utf8_lossy(&written).into_owned();
        let again = Value::from_json(kind, &written);
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
