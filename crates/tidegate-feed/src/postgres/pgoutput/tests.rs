use proptest::prelude::*;

use super::*;

/// A message written out by hand: numbers as they are sent.
#[derive(Default)]
struct Sent(Vec<u8>);

impl Sent {
    fn of(kind: u8) -> Self {
        Self(vec![kind])
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn int(self, number: u32) -> Self {
        self.raw(&number.to_be_bytes())
    }

    fn long(self, number: u64) -> Self {
        self.raw(&number.to_be_bytes())
    }

    fn name(self, name: &str) -> Self {
        self.raw(name.as_bytes()).raw(&[0])
    }

    fn tuple(mut self, letter: u8, cells: &[Cell<'_>]) -> Self {
        self = self.raw(&[letter]).raw(&(cells.len() as u16).to_be_bytes());
        for cell in cells {
            self = match cell {
                Cell::Null => self.raw(b"n"),
                Cell::Unchanged => self.raw(b"u"),
                Cell::Text(text) => self.raw(b"t").int(text.len() as u32).raw(text),
            };
        }
        self
    }
}

const CELLS: [Cell<'_>; 3] = [Cell::Text(b"1"), Cell::Null, Cell::Unchanged];

/// Every kind of message, with what it is.
fn samples() -> Vec<(Vec<u8>, Message<'static>)> {
    let relation = Relation {
        oid: 7,
        schema: "public".into(),
        name: "t".into(),
        identity: b'd',
        columns: vec![
            RelationColumn { key: true, name: "id".into(), type_oid: 23, typmod: -1 },
            RelationColumn { key: false, name: "né".into(), type_oid: 1043, typmod: 14 },
        ],
    };
    let described = Sent::of(b'R').int(7).name("public").name("t").raw(b"d\0\x02");
    let described = described.raw(&[1]).name("id").int(23).int(u32::MAX).raw(&[0]).name("né").int(1043).int(14);
    let cells = || CELLS.to_vec();
    [
        (
            Sent::of(b'B').long(0x16_B374_D848).long(5).int(99),
            Message::Begin { final_lsn: Lsn(0x16_B374_D848), commit_micros: 5, xid: 99 },
        ),
        (
            Sent::of(b'C').raw(&[0]).long(1).long(2).long(u64::MAX),
            Message::Commit { lsn: Lsn(1), end_lsn: Lsn(2), commit_micros: -1 },
        ),
        (Sent::of(b'O').long(1).name("there"), Message::Origin),
        (Sent::of(b'Y').int(600).name("public").name("mood"), Message::Type),
        (described, Message::Relation(relation)),
        (Sent::of(b'I').int(7).tuple(b'N', &CELLS), Message::Insert { relation: 7, new: cells() }),
        (Sent::of(b'U').int(7).tuple(b'N', &CELLS), Message::Update { relation: 7, old: None, new: cells() }),
        (
            Sent::of(b'U').int(7).tuple(b'K', &CELLS).tuple(b'N', &CELLS),
            Message::Update { relation: 7, old: Some(Old::Key(cells())), new: cells() },
        ),
        (
            Sent::of(b'U').int(7).tuple(b'O', &CELLS).tuple(b'N', &CELLS),
            Message::Update { relation: 7, old: Some(Old::Full(cells())), new: cells() },
        ),
        (Sent::of(b'D').int(7).tuple(b'K', &CELLS), Message::Delete { relation: 7, old: Old::Key(cells()) }),
        (Sent::of(b'D').int(7).tuple(b'O', &CELLS), Message::Delete { relation: 7, old: Old::Full(cells()) }),
        (Sent::of(b'T').int(2).raw(&[3]).int(7).int(8), Message::Truncate { relations: vec![7, 8] }),
        (
            Sent::of(b'M').raw(&[0]).long(9).name("tidegate").int(2).raw(b"\xff\0"),
            Message::Message { transactional: false, lsn: Lsn(9), prefix: "tidegate", content: b"\xff\0" },
        ),
    ]
    .map(|(sent, message)| (sent.0, message))
    .into()
}

#[test]
fn every_message_is_read_whole() {
    for (bytes, message) in samples() {
        assert_eq!(decode(&bytes), Ok(message));
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), Err(DecodeError::Short), "{end} of {bytes:?}");
        }
        let longer = [&bytes[..], b"x"].concat();
        assert_eq!(decode(&longer), Err(DecodeError::Trailing(1)));
    }
}

#[test]
fn what_is_wrong_is_named() {
    let tuple = |cell: &[u8]| Sent::of(b'I').int(7).raw(b"N\0\x01").raw(cell).0;
    assert_eq!(decode(&tuple(b"b\0\0\0\x01x")), Err(DecodeError::Binary));
    assert_eq!(decode(&tuple(b"x")), Err(DecodeError::Unknown(b'x', "a kind of cell")));
    assert_eq!(decode(&tuple(b"t\xff\xff\xff\xff")), Err(DecodeError::Short));
    assert_eq!(decode(b"S\0"), Err(DecodeError::Unknown(b'S', "a kind of message")));
    assert_eq!(decode(&Sent::of(b'D').int(7).raw(b"N\0\0").0), Err(DecodeError::Unknown(b'N', "an old row")));
    assert_eq!(decode(&Sent::of(b'I').int(7).raw(b"N\x06\x41").0), Err(DecodeError::Columns(1_601)));
    assert_eq!(decode(&Sent::of(b'T').int(u32::MAX).raw(&[0]).0), Err(DecodeError::Short));
    assert_eq!(decode(&Sent::of(b'Y').int(1).raw(b"\xff\0\0").0), Err(DecodeError::NotUtf8));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn nor_do_mutations(sample in 0..13usize, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let (mut bytes, _) = samples().swap_remove(sample);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = decode(&bytes);
    }
}
