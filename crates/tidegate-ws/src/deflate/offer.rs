//! What a client offers and what it is answered.

use super::{Deflate, WINDOW_BITS};

/// Offers looked at; a browser makes one, a careful client two.
const OFFERS_MAX: usize = 8;

/// Answers the values of a request's `Sec-WebSocket-Extensions`: the first offer that can be kept, and the value of the
/// response's header. Takes time linear in the values' length, whatever they are.
pub fn negotiate<'a>(offers: impl Iterator<Item = &'a str>) -> Option<(Deflate, String)> {
    offers.flat_map(|value| split(value, ',')).take(OFFERS_MAX).find_map(accept)
}

fn accept(offer: &str) -> Option<(Deflate, String)> {
    let mut parts = split(offer, ';');
    if !parts.next()?.eq_ignore_ascii_case("permessage-deflate") {
        return None;
    }
    let (mut server, mut client) = (None, None);
    let (mut server_takeover, mut client_takeover) = (None, None);
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim_end_matches(BLANK), Some(unquote(value.trim_start_matches(BLANK)))),
            None => (part, None),
        };
        // RFC 7692 7.1: an unknown parameter, a bad value or a second of a kind declines the whole offer.
        let (known, value) = match name.to_ascii_lowercase().as_str() {
            "server_no_context_takeover" if value.is_none() => (&mut server_takeover, 0),
            "client_no_context_takeover" if value.is_none() => (&mut client_takeover, 0),
            "server_max_window_bits" => (&mut server, window_bits(value?)?),
            "client_max_window_bits" => (&mut client, value.map_or(Some(15), window_bits)?),
            _ => return None,
        };
        if known.replace(value).is_some() {
            return None;
        }
    }
    // Windows of 8 bits cannot be compressed with; they can be read.
    if server.is_some_and(|bits| !WINDOW_BITS.contains(&bits)) {
        return None;
    }
    let mut answer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover".to_owned();
    if let Some(bits) = server {
        answer.push_str(&format!("; server_max_window_bits={bits}"));
    }
    let deflate = Deflate { server_window_bits: server.unwrap_or(15), client_window_bits: client.unwrap_or(15) };
    Some((deflate, answer))
}

const BLANK: [char; 2] = [' ', '\t'];

/// 8 to 15, without leading zeros.
fn window_bits(value: &str) -> Option<u8> {
    match value {
        "8" => Some(8),
        "9" => Some(9),
        "10" => Some(10),
        "11" => Some(11),
        "12" => Some(12),
        "13" => Some(13),
        "14" => Some(14),
        "15" => Some(15),
        _ => None,
    }
}

fn unquote(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

/// The parts of `value` between separators that are not in quotes, trimmed.
fn split(value: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    value
        .split(move |char| {
            let escapes = std::mem::take(&mut escaped);
            match char {
                _ if escapes => {}
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                _ => return char == separator && !quoted,
            }
            false
        })
        .map(|part| part.trim_matches(BLANK))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    fn answer(offers: &[&str]) -> Option<(u8, u8, String)> {
        negotiate(offers.iter().copied())
            .map(|(deflate, answer)| (deflate.server_window_bits, deflate.client_window_bits, answer))
    }

    #[test]
    fn kept_offers() {
        for (offer, server, client) in [
            ("permessage-deflate", 15, 15),
            ("Permessage-Deflate ; Client_Max_Window_Bits", 15, 15),
            ("permessage-deflate; client_max_window_bits=8", 15, 8),
            ("permessage-deflate;server_no_context_takeover;client_no_context_takeover", 15, 15),
            ("x-other; a=\"b,c\\\",permessage-deflate; nonsense\", permessage-deflate", 15, 15),
            ("permessage-deflate; unknown, permessage-deflate; client_max_window_bits = \"12\"", 15, 12),
            ("permessage-deflate; server_max_window_bits=8, permessage-deflate", 15, 15),
        ] {
            assert_eq!(answer(&[offer]), Some((server, client, PLAIN.to_owned())), "{offer}");
        }
        assert_eq!(
            answer(&["permessage-deflate; server_max_window_bits=\"10\""]),
            Some((10, 15, format!("{PLAIN}; server_max_window_bits=10")))
        );
        assert!(answer(&["x-other", "permessage-deflate"]).is_some());
    }

    #[test]
    fn declined_offers() {
        for offer in [
            "",
            ",,;",
            "permessage-bzip2",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=09",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; client_max_window_bits=10; client_max_window_bits=10",
            "permessage-deflate; unknown",
            "permessage-deflate; \"",
            "permessage-deflate;",
        ] {
            assert_eq!(answer(&[offer]), None, "{offer}");
        }
    }

    #[test]
    fn no_more_than_a_few_offers_are_read() {
        let many = "x,".repeat(100_000) + "permessage-deflate";
        assert_eq!(answer(&[&many]), None);
        let long = "permessage-deflate".to_owned() + &"; a=\"\\\"".repeat(100_000);
        assert_eq!(answer(&[&long]), None);
    }
}
