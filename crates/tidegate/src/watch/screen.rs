//! The list as lines of a terminal.

use std::time::{Duration, Instant};

use console::{Style, pad_str, truncate_str};

use super::list::{Line, List, Mark, widths};

/// How long what happened to a row can be seen.
const MARK: Duration = Duration::from_millis(1_200);

/// Everything the screen says beside the list.
#[derive(Debug)]
pub(crate) struct Status<'a> {
    pub(crate) query: &'a str,
    pub(crate) state: &'a str,
    pub(crate) deltas_per_second: f64,
}

/// The whole screen, `size` being rows and columns of the terminal. Rows that do not fit are counted.
pub(crate) fn render(list: &mut List, status: &Status<'_>, size: (usize, usize), now: Instant) -> Vec<String> {
    let (height, width) = size;
    list.ghosts.retain(|(_, ghost)| now.duration_since(ghost.since) < MARK);
    let room = height.saturating_sub(4).max(1);
    let hidden = list.lines.len().saturating_sub(room);
    let mut rows = list.lines.clone();
    // However fast rows leave, those that are there keep most of the screen.
    let ghosts = room.saturating_sub(rows.len()).max(room / 4);
    for (at, ghost) in list.ghosts.iter().rev().take(ghosts) {
        rows.insert((*at).min(rows.len()), ghost.clone());
    }
    rows.truncate(room);
    let widths = widths(&list.columns, &rows, width);
    let mut out = vec![clip(&Style::new().dim().apply_to(status.query).to_string(), width)];
    let head = Style::new().bold().underlined().apply_to(joined(&list.columns, &widths)).to_string();
    out.push(clip(&head, width));
    out.extend(rows.iter().map(|row| clip(&styled(row, &widths, now), width)));
    let more = if hidden > 0 { format!("  {hidden} more") } else { String::new() };
    let state = if list.live { Style::new().green() } else { Style::new().yellow() }.apply_to(status.state).to_string();
    let (rows, position, rate) = (list.lines.len(), list.position, status.deltas_per_second);
    out.push(String::new());
    out.push(clip(&format!("{state}  {rows} rows{more}  position {position}  {rate:.1} deltas/s  Ctrl-C ends"), width));
    out
}

fn styled(row: &Line, widths: &[usize], now: Instant) -> String {
    let fresh = now.duration_since(row.since) < MARK;
    let (sign, style) = match row.mark {
        Mark::Left => ("-", Style::new().red().dim()),
        Mark::Entered if fresh => ("+", Style::new().green().bold()),
        Mark::Changed if fresh => ("~", Style::new().yellow()),
        _ => (" ", Style::new()),
    };
    // The sign says the same as the colour, for those who see none.
    style.apply_to(format!("{}{sign}", joined(&row.cells, widths))).to_string()
}

fn joined(cells: &[String], widths: &[usize]) -> String {
    let cells = cells.iter().zip(widths);
    cells.map(|(cell, width)| pad_str(cell, *width, console::Alignment::Left, Some("…")).into_owned() + "  ").collect()
}

fn clip(line: &str, width: usize) -> String {
    truncate_str(line, width, "…").into_owned()
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn frame(list: &mut List, text: &str, now: Instant) {
        list.apply(serde_json::from_str(text).unwrap(), now).unwrap();
    }

    fn screen(list: &mut List, size: (usize, usize), now: Instant) -> String {
        let status = Status { query: "{\"entity\":\"asset\"}", state: "live", deltas_per_second: 1.25 };
        let lines = render(list, &status, size, now);
        lines.iter().map(|line| console::strip_ansi_codes(line).trim_end().to_owned() + "\n").collect()
    }

    fn seeded(now: Instant) -> List {
        let mut list = List::default();
        frame(
            &mut list,
            r#"{"seq":1,"op":"reset","agg_id":null,"version":null,"row":null,"old_index":-1,"new_index":-1,"cursor":null,"stream_id":"a"}"#,
            now,
        );
        frame(
            &mut list,
            r#"{"seq":2,"op":"enter","agg_id":"a","version":1,"row":{"id":"a","name":"pump","temp":1.5},"old_index":-1,"new_index":0}"#,
            now,
        );
        frame(
            &mut list,
            r#"{"seq":3,"op":"enter","agg_id":"b","version":2,"row":{"id":"b","name":"a\u001b[31m very long name that does not fit","temp":null},"old_index":-1,"new_index":1}"#,
            now,
        );
        frame(&mut list, r#"{"seq":4,"op":"ready","stream_id":"b"}"#, now);
        list
    }

    #[test]
    fn a_snapshot_is_a_table() {
        let now = Instant::now();
        assert_snapshot!(screen(&mut seeded(now), (20, 60), now), @r#"
    {"entity":"asset"}
    id  name                                     temp
    a   pump                                     1.5
    b   a·[31m very long name that does not fit
    
    live  2 rows  position 2  1.2 deltas/s  Ctrl-C ends
    "#);
    }

    #[test]
    fn what_happens_can_be_seen_for_a_moment() {
        let now = Instant::now();
        let mut list = seeded(now);
        frame(
            &mut list,
            r#"{"seq":5,"op":"enter","agg_id":"c","version":7,"row":{"id":"c","name":"valve","temp":2},"old_index":-1,"new_index":0}"#,
            now,
        );
        frame(
            &mut list,
            r#"{"seq":6,"op":"leave","agg_id":"b","version":7,"row":{"id":"b"},"old_index":2,"new_index":-1}"#,
            now,
        );
        frame(
            &mut list,
            r#"{"seq":7,"op":"update","agg_id":"a","version":7,"row":{"id":"a","name":"pump","temp":9},"old_index":1,"new_index":1}"#,
            now,
        );
        assert_snapshot!(screen(&mut list, (20, 60), now), @r#"
    {"entity":"asset"}
    id  name                                     temp
    c   valve                                    2     +
    a   pump                                     9     ~
    b   a·[31m very long name that does not fit        -
    
    live  2 rows  position 7  1.2 deltas/s  Ctrl-C ends
    "#);
        assert_snapshot!(screen(&mut list, (20, 60), now + 2 * MARK), @r#"
    {"entity":"asset"}
    id  name   temp
    c   valve  2
    a   pump   9
    
    live  2 rows  position 7  1.2 deltas/s  Ctrl-C ends
    "#);
    }

    #[test]
    fn a_small_terminal_says_what_it_hides() {
        let now = Instant::now();
        assert_snapshot!(screen(&mut seeded(now), (5, 30), now), @r#"
    {"entity":"asset"}
    id  name  temp
    a   pump  1.5
    
    live  2 rows  1 more  positio…
    "#);
    }

    #[test]
    fn a_frame_that_does_not_fit_is_told() {
        let now = Instant::now();
        for wrong in [
            r#"{"seq":6,"op":"ready"}"#,
            r#"{"seq":5,"op":"leave","agg_id":"a","old_index":1}"#,
            r#"{"seq":5,"op":"enter","agg_id":"z","new_index":9}"#,
            r#"{"seq":5,"op":"fly"}"#,
        ] {
            assert!(seeded(now).apply(serde_json::from_str(wrong).unwrap(), now).is_err(), "{wrong}");
        }
    }
}
