//! Orders, cursors and whole queries.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use tidegate_model::{Entity, Filter, Mode, Order, Query, Row, SortKey, Value};

use super::filters::filter;
use super::values::{Alphabet, key_value, nullable};
use crate::naive;

/// A query whose anchor is settled once the rows are known.
#[derive(Debug, Clone)]
pub struct QueryPlan {
    /// Which rows.
    pub filter: Filter,
    /// Their order, without the key.
    pub sort: Vec<SortKey>,
    /// The anchor.
    pub cursor: CursorPlan,
    /// Rows in the window.
    pub limit: u32,
    /// Columns sent.
    pub select: Arc<[u16]>,
    /// How it is kept up.
    pub mode: Mode,
}

/// Where a window starts.
#[derive(Debug, Clone)]
pub enum CursorPlan {
    /// At the beginning.
    Head,
    /// After one of the rows there are (the head if there are none).
    AtRow(Index),
    /// After values that need not be any row's.
    Anywhere(Vec<Value>),
}

impl CursorPlan {
    /// One value per term of `order`, or `None` for the head.
    #[must_use]
    pub fn settle(&self, order: &Order, rows: &[Arc<Row>]) -> Option<Vec<Value>> {
        match self {
            CursorPlan::Head => None,
            CursorPlan::AtRow(_) if rows.is_empty() => None,
            CursorPlan::AtRow(index) => Some(naive::cursor_at(&rows[index.index(rows.len())], order.terms())),
            CursorPlan::Anywhere(values) => Some(values.clone()),
        }
    }
}

impl QueryPlan {
    /// The query, and its cursor as values for the naive model.
    #[must_use]
    pub fn settle(&self, entity: &Arc<Entity>, rows: &[Arc<Row>]) -> (Query, Option<Vec<Value>>) {
        let order = Arc::new(Order::new(entity, &self.sort));
        let cursor = self.cursor.settle(&order, rows);
        let query = Query {
            entity: entity.clone(),
            filter: self.filter.clone(),
            after: cursor.as_ref().map(|values| order.key_of_values(values)),
            order,
            limit: self.limit,
            select: self.select.clone(),
            mode: self.mode,
        };
        (query, cursor)
    }
}

/// Any query over the entity: windows of 1 to 8 rows, two thirds of them at the head, both modes.
pub fn query_plan(entity: &Arc<Entity>, alphabet: Alphabet) -> BoxedStrategy<QueryPlan> {
    let entity = entity.clone();
    let filters = filter(&entity, alphabet);
    (filters, sort(&entity), 1u32..=8, columns(&entity), mode())
        .prop_flat_map(move |(filter, sort, limit, select, mode)| {
            cursor_plan(&entity, &sort, alphabet).prop_map(move |cursor| QueryPlan {
                filter: filter.clone(),
                sort: sort.clone(),
                cursor,
                limit,
                select: select.clone(),
                mode,
            })
        })
        .boxed()
}

/// Up to three sort terms, each column once, directions at random. Sorting on the key itself is allowed.
pub fn sort(entity: &Entity) -> BoxedStrategy<Vec<SortKey>> {
    let columns: Vec<u16> = (0..).zip(entity.columns()).filter(|(_, c)| c.sortable).map(|(index, _)| index).collect();
    let most = columns.len().min(3);
    subsequence(columns, 0..=most)
        .prop_shuffle()
        .prop_flat_map(|columns| {
            let terms: Vec<_> = columns
                .into_iter()
                .map(|column| any::<bool>().prop_map(move |desc| SortKey { column, desc }))
                .collect();
            terms
        })
        .boxed()
}

/// Where a window over the entity in that order may start.
pub fn cursor_plan(entity: &Arc<Entity>, sort: &[SortKey], alphabet: Alphabet) -> BoxedStrategy<CursorPlan> {
    let order = Order::new(entity, sort);
    let values: Vec<BoxedStrategy<Value>> = order
        .terms()
        .iter()
        .map(|term| match entity.column(term.column) {
            column if entity.is_required(term.column) => key_value(column, alphabet),
            column => nullable(column, alphabet),
        })
        .collect();
    prop_oneof![
        4 => Just(CursorPlan::Head),
        1 => any::<Index>().prop_map(CursorPlan::AtRow),
        1 => values.prop_map(CursorPlan::Anywhere),
    ]
    .boxed()
}

fn columns(entity: &Entity) -> BoxedStrategy<Arc<[u16]>> {
    let all: Vec<u16> = (0..entity.columns().len() as u16).collect();
    let count = all.len();
    prop_oneof![2 => Just(all.clone()), 1 => subsequence(all, 1..=count)].prop_map(Arc::from).boxed()
}

fn mode() -> impl Strategy<Value = Mode> {
    select(vec![Mode::Maintained, Mode::Maintained, Mode::Streamed])
}
