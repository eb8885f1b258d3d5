//! An independent reading of the same commits: a second server that is taken through them one by one, and asked every
//! question after each. What it answers is what a client's list must be at that place.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio_postgres::SimpleQueryMessage;

use super::decoding::{Cell, Change, Commit, Content};
use super::kinds::PRELUDE;
use super::queries::Question;
use super::session::Session;
use super::tables::{LEAF, Table, quoted};
use super::wire::SESSION;

/// The rows that a question was answered by, normalised.
pub type List = Arc<Vec<String>>;

/// Compares what a client shows with what is right.
///
/// # Errors
/// The first difference, and how long the lists are.
pub fn compare(shown: &[String], right: &[String]) -> Result<(), String> {
    if shown == right {
        return Ok(());
    }
    let at = shown.iter().zip(right).take_while(|(a, b)| a == b).count();
    let lengths = format!("{} rows are shown, right are {}", shown.len(), right.len());
    Err(format!("{lengths}; at index {at}\n shown {:?}\n right {:?}", shown.get(at), right.get(at)))
}

/// The answers to one question over time: from each position on. The first is of the position where the log begins.
#[derive(Debug, Clone)]
pub struct Answers(Vec<(u64, List)>);

impl Answers {
    /// The answer at `position`: of the last commit that ended at or before it.
    #[must_use]
    pub fn at(&self, position: u64) -> &List {
        let after = self.0.partition_point(|(end, _)| *end <= position);
        &self.0[after.max(1) - 1].1
    }

    /// How many rows the answers before and after a position have, for messages.
    #[must_use]
    pub fn around(&self, position: u64) -> Vec<(u64, usize)> {
        let after = self.0.partition_point(|(end, _)| *end <= position);
        self.0[after.saturating_sub(3)..self.0.len().min(after + 3)]
            .iter()
            .map(|(end, list)| (*end, list.len()))
            .collect()
    }

    /// Where the log begins.
    ///
    /// # Panics
    /// Never: there is always a first answer.
    #[must_use]
    pub fn begin(&self) -> u64 {
        self.0.first().expect("the first answer").0
    }

    /// The answer at the end.
    ///
    /// # Panics
    /// Never: there is always one.
    #[must_use]
    pub fn last(&self) -> &List {
        &self.0.last().expect("the first answer").1
    }

    /// How often it changed.
    #[must_use]
    pub fn changes(&self) -> usize {
        self.0.len() - 1
    }
}

/// The second server's tables and what was asked of them.
pub struct Replica {
    session: Session,
    tables: Vec<Table>,
    questions: Vec<Question>,
    answers: Vec<Answers>,
}

impl Replica {
    /// Makes the (empty) tables in a database of its own and asks every question once, as of the position `begin`.
    pub async fn new(session: Session, tables: &[Table], questions: Vec<Question>, begin: u64) -> Self {
        session.run(SESSION).await;
        session.run(PRELUDE).await;
        for table in tables {
            session.run(&table.create_plain()).await;
        }
        let mut replica = Self { session, tables: tables.to_vec(), questions, answers: Vec::new() };
        let all: Vec<usize> = (0..replica.questions.len()).collect();
        replica.answers = replica.ask(&all).await.into_iter().map(|list| Answers(vec![(begin, list)])).collect();
        replica
    }

    /// Applies one commit as a whole and asks what it may have changed.
    ///
    /// # Panics
    /// Where a change finds no row, or more than one.
    pub async fn step(&mut self, commit: &Commit) {
        let mut statements = vec!["begin".to_owned()];
        let mut touched = BTreeSet::new();
        for change in &commit.changes {
            let names = match change {
                Change::Insert(name, _) | Change::Update(name, ..) | Change::Delete(name, _) => {
                    std::slice::from_ref(name)
                }
                Change::Truncate(names) => names,
            };
            let known: Vec<&Table> = names.iter().filter_map(|name| self.table(name)).collect();
            if let Some(table) = known.first() {
                touched.extend(known.iter().map(|table| table.name.clone()));
                statements.push(statement(table, &known, change));
            }
        }
        statements.push("commit".to_owned());
        self.apply(&statements.join(";\n")).await;
        let concerned =
            |question: &Question| question.query["entity"].as_str().is_some_and(|name| touched.contains(name));
        let asked: Vec<usize> = (0..self.questions.len()).filter(|at| concerned(&self.questions[*at])).collect();
        for (at, list) in asked.iter().zip(self.ask(&asked).await) {
            let answers = &mut self.answers[*at];
            if answers.last() != &list {
                answers.0.push((commit.end, list));
            }
        }
    }

    /// What was asked.
    #[must_use]
    pub fn questions(&self) -> &[Question] {
        &self.questions
    }

    /// The answers to the question of that number.
    #[must_use]
    pub fn answers(&self, question: usize) -> &Answers {
        &self.answers[question]
    }

    /// The table that a question is about.
    ///
    /// # Panics
    /// Never for a question of this replica.
    #[must_use]
    pub fn table_of(&self, question: &Question) -> &Table {
        let name = question.query["entity"].as_str();
        self.tables.iter().find(|table| Some(&*table.name) == name).expect("a question names its table")
    }

    /// Asks `server`, which is at rest, every question, and compares with the last answers.
    ///
    /// # Panics
    /// Where they differ: then the reading of the log is wrong.
    pub async fn check_against(&self, server: &Session) {
        server.run(SESSION).await;
        for (question, answers) in self.questions.iter().zip(&self.answers) {
            let list = question.list_of_server(self.table_of(question), &server.rows(&question.sql).await);
            let same = compare(answers.last(), &list);
            same.unwrap_or_else(|difference| panic!("the replica is wrong: {}: {difference}", question.sql));
        }
    }

    /// The table that a printed name means; a partition's rows are the table's.
    fn table(&self, printed: &str) -> Option<&Table> {
        let name = printed.strip_prefix("public.")?.trim_matches('"');
        let name = name.split_once(LEAF).map_or(name, |(root, _)| root);
        self.tables.iter().find(|table| table.name == name)
    }

    async fn apply(&self, statements: &str) {
        let messages = self.session.simple_query(statements).await;
        let messages = messages.unwrap_or_else(|error| panic!("{error:?}: {statements}"));
        let counts = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
            _ => None,
        });
        for (count, statement) in counts.zip(statements.split(";\n")) {
            let is_row = ["insert", "update", "delete"].iter().any(|word| statement.starts_with(word));
            assert!(!is_row || count == 1, "{count} rows: {statement}");
        }
    }

    async fn ask(&self, asked: &[usize]) -> Vec<List> {
        if asked.is_empty() {
            return Vec::new();
        }
        let selects: Vec<_> = asked.iter().map(|at| &*self.questions[*at].sql).collect();
        let selects = selects.join(";\n");
        let messages = self.session.simple_query(&selects).await.unwrap_or_else(|error| panic!("{error:?}: {selects}"));
        let (mut lists, mut list) = (Vec::new(), Vec::<Vec<_>>::new());
        for message in messages {
            match message {
                SimpleQueryMessage::Row(row) => {
                    list.push((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect());
                }
                SimpleQueryMessage::CommandComplete(_) => {
                    let question = &self.questions[asked[lists.len()]];
                    lists.push(Arc::new(question.list_of_server(self.table_of(question), &list)));
                    list.clear();
                }
                _ => {}
            }
        }
        lists
    }
}

fn statement(table: &Table, known: &[&Table], change: &Change) -> String {
    let name = quoted(&table.name);
    match change {
        Change::Insert(_, cells) => {
            let columns: Vec<_> = cells.iter().map(|cell| &*cell.column).collect();
            let values: Vec<_> = cells.iter().filter_map(value).collect();
            format!("insert into {name} ({}) values ({})", columns.join(", "), values.join(", "))
        }
        Change::Update(_, key, cells) => {
            let sets: Vec<_> =
                cells.iter().filter_map(|cell| Some(format!("{} = {}", cell.column, value(cell)?))).collect();
            format!("update {name} set {} where {}", sets.join(", "), condition(table, key.as_ref().unwrap_or(cells)))
        }
        Change::Delete(_, key) => format!("delete from {name} where {}", condition(table, key)),
        Change::Truncate(_) => {
            let names: BTreeSet<_> = known.iter().map(|table| quoted(&table.name)).collect();
            format!("truncate {}", names.into_iter().collect::<Vec<_>>().join(", "))
        }
    }
}

/// Which row: by the key's columns only, whatever else was logged.
fn condition(table: &Table, cells: &[Cell]) -> String {
    let is_key =
        |cell: &&Cell| table.key().iter().any(|key| cell.column == key.name || cell.column == quoted(&key.name));
    let equal = |cell: &Cell| Some(format!("{} = {}", cell.column, value(cell)?));
    cells.iter().filter(is_key).filter_map(equal).collect::<Vec<_>>().join(" and ")
}

fn value(cell: &Cell) -> Option<String> {
    match &cell.content {
        Content::Null => Some("null".to_owned()),
        Content::Unchanged => None,
        Content::Text(text) => Some(format!("'{}'", text.replace('\'', "''"))),
    }
}
