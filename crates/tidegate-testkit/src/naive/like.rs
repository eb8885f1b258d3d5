//! `like` by definition: does any way of cutting the text fit the pattern?

/// Whether `text` is like `pattern`: `%` is any run of characters, `_` one, `\` makes the next one literal. With `fold`
/// both sides are in lower case first, character by character, where that is a single character.
#[must_use]
pub fn like(text: &str, pattern: &str, fold: bool) -> bool {
    let text: Vec<char> = text.chars().map(|char| folded(char, fold)).collect();
    let mut items = Vec::new();
    let mut chars = pattern.chars();
    while let Some(char) = chars.next() {
        items.push(match char {
            '%' => Item::Run,
            '_' => Item::Any,
            '\\' => Item::Literal(folded(chars.next().expect("no pattern ends with its escape"), fold)),
            char => Item::Literal(folded(char, fold)),
        });
    }
    // fits[t]: the items so far fit the first t characters, whole.
    let mut fits = vec![false; text.len() + 1];
    fits[0] = true;
    for item in items {
        fits = (0..=text.len())
            .map(|end| match item {
                Item::Run => fits[..=end].contains(&true),
                Item::Any => end > 0 && fits[end - 1],
                Item::Literal(char) => end > 0 && fits[end - 1] && text[end - 1] == char,
            })
            .collect();
    }
    fits[text.len()]
}

enum Item {
    Run,
    Any,
    Literal(char),
}

fn folded(char: char, fold: bool) -> char {
    let lower: Vec<char> = char.to_lowercase().collect();
    if fold && lower.len() == 1 { lower[0] } else { char }
}
