//! A JSON document as a tree that compares by content: objects by name whatever their order, numbers by value.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

use super::number;

/// A document. The order among different documents is arbitrary.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Node {
    Word(String),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Object(BTreeMap<String, Node>),
}

/// A number as it is written, compared by value.
#[derive(Debug)]
pub(super) struct Number(String);

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        number::compare(&self.0, &other.0)
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

/// Reads a document that is known to be valid.
pub(super) fn parse(text: &str) -> Node {
    node(&mut text.chars().peekable())
}

fn node(chars: &mut Peekable<Chars<'_>>) -> Node {
    skip_space(chars);
    match *chars.peek().expect("a value") {
        '{' => object(chars),
        '[' => list(chars),
        '"' => Node::Text(string(chars)),
        '-' | '0'..='9' => Node::Number(Number(take_while(chars, |c| "+-.eE0123456789".contains(c)))),
        _ => Node::Word(take_while(chars, char::is_alphabetic)),
    }
}

fn list(chars: &mut Peekable<Chars<'_>>) -> Node {
    let mut items = Vec::new();
    chars.next();
    skip_space(chars);
    while chars.peek() != Some(&']') {
        items.push(node(chars));
        skip_comma(chars);
    }
    chars.next();
    Node::List(items)
}

fn object(chars: &mut Peekable<Chars<'_>>) -> Node {
    let mut members = BTreeMap::new();
    chars.next();
    skip_space(chars);
    while chars.peek() != Some(&'}') {
        let name = string(chars);
        skip_space(chars);
        assert_eq!(chars.next(), Some(':'));
        // The last of equal names wins.
        members.insert(name, node(chars));
        skip_comma(chars);
    }
    chars.next();
    Node::Object(members)
}

/// Strings have no meaning to get wrong, so serde_json undoes their escapes.
fn string(chars: &mut Peekable<Chars<'_>>) -> String {
    let mut raw = String::from(chars.next().expect("a quote"));
    while let Some(char) = chars.next() {
        raw.push(char);
        match char {
            '"' => break,
            '\\' => raw.extend(chars.next()),
            _ => {}
        }
    }
    serde_json::from_str(&raw).expect("a valid string")
}

fn skip_comma(chars: &mut Peekable<Chars<'_>>) {
    skip_space(chars);
    chars.next_if_eq(&',');
    skip_space(chars);
}

fn skip_space(chars: &mut Peekable<Chars<'_>>) {
    take_while(chars, char::is_whitespace);
}

fn take_while(chars: &mut Peekable<Chars<'_>>, wanted: impl Fn(char) -> bool) -> String {
    let mut taken = String::new();
    while let Some(char) = chars.next_if(|char| wanted(*char)) {
        taken.push(char);
    }
    taken
}
