//! An entity as a table: its names, its statements, and rows to and from their stored form.

use std::fmt::Write as _;
use std::sync::{Arc, PoisonError, RwLock};

use rusqlite::Connection;
use tidegate_model::{Entity, Order, Position, Row, Tenant, Value, key};

use crate::MirrorError;

/// The table of one entity, with the texts of the statements that the writer uses on it.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) entity: Arc<Entity>,
    pub(crate) number: i64,
    /// `e_<number>`: the number is given when the entity is first seen and never again, so that no name of a
    /// configuration becomes part of SQL.
    pub(crate) name: String,
    /// Columns that stand in an index, ascending: each has a stored column of its encoding.
    pub(crate) indexed: Vec<u16>,
    key_order: Order,
    /// Why nobody may read it; of this process alone.
    unavailable: RwLock<Option<Arc<str>>>,
    /// Set where a key does not tell the partition of its row: there is an index on the key alone.
    select_by_pk: Option<String>,
    pub(crate) select: String,
    pub(crate) insert: String,
    pub(crate) update: String,
    pub(crate) update_data: String,
    pub(crate) delete: String,
}

impl Table {
    pub(crate) fn new(entity: Arc<Entity>, number: i64) -> Self {
        let name = format!("e_{number}");
        let mut indexed: Vec<u16> = entity.indexes().iter().flat_map(|index| index.iter().copied()).collect();
        indexed.sort_unstable();
        indexed.dedup();
        let key_order = Order::new(&entity, &[]);
        let (mut columns, mut marks, mut sets) = (String::new(), String::new(), String::new());
        for (i, column) in indexed.iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = write!(columns, ", c_{column}");
            let _ = write!(marks, ", ?{}", i + 5);
            let _ = write!(sets, ", c_{column} = ?{}", i + 5);
        }
        Self {
            select: format!("SELECT version, data FROM {name} WHERE tenant = ?1 AND pk = ?2"),
            insert: format!("INSERT INTO {name} (tenant, pk, version, data{columns}) VALUES (?1, ?2, ?3, ?4{marks})"),
            update: format!("UPDATE {name} SET version = ?3, data = ?4{sets} WHERE tenant = ?1 AND pk = ?2"),
            update_data: format!("UPDATE {name} SET version = ?3, data = ?4 WHERE tenant = ?1 AND pk = ?2"),
            delete: format!("DELETE FROM {name} WHERE tenant = ?1 AND pk = ?2"),
            select_by_pk: is_found_by_pk(&entity)
                .then(|| format!("SELECT version, data FROM {name} INDEXED BY {name}_pk WHERE pk = ?1")),
            unavailable: RwLock::new(None),
            entity,
            number,
            name,
            indexed,
            key_order,
        }
    }

    /// The statement that makes the table, without its indexes.
    pub(crate) fn create(&self) -> String {
        let columns: String = self.indexed.iter().map(|column| format!(" c_{column} BLOB NOT NULL,")).collect();
        format!(
            "CREATE TABLE {} (tenant BLOB NOT NULL, pk BLOB NOT NULL, version INTEGER NOT NULL, data BLOB NOT NULL,\
             {columns} PRIMARY KEY (tenant, pk)) WITHOUT ROWID",
            self.name
        )
    }

    /// The statement that makes the index on the key alone, where there is one.
    pub(crate) fn create_key_index(&self) -> String {
        let sql = || format!("CREATE UNIQUE INDEX {name}_pk ON {name} (pk)", name = self.name);
        self.select_by_pk.as_ref().map_or_else(String::new, |_| sql())
    }

    /// The statements that make the entity's indexes, where they are not there.
    pub(crate) fn create_indexes(&self) -> String {
        let mut sql = String::new();
        for (i, index) in self.entity.indexes().iter().enumerate() {
            let columns: String = index.iter().map(|column| format!(", c_{column}")).collect();
            let (name, table) = (self.index_name(i), &self.name);
            let _ = write!(sql, "CREATE INDEX IF NOT EXISTS {name} ON {table} (tenant{columns});");
        }
        sql
    }

    /// The statements that drop these, where they are there.
    pub(crate) fn drop_indexes(&self) -> String {
        (0..self.entity.indexes().len()).map(|i| format!("DROP INDEX IF EXISTS {};", self.index_name(i))).collect()
    }

    /// Whether it has no row at all.
    pub(crate) fn is_empty(&self, db: &Connection) -> Result<bool, MirrorError> {
        let sql = format!("SELECT NOT EXISTS (SELECT 1 FROM {})", self.name);
        Ok(db.query_row(&sql, [], |row| row.get(0))?)
    }

    pub(crate) fn index_name(&self, index: usize) -> String {
        format!("{}_i{index}", self.name)
    }

    /// The encoded key of a row.
    pub(crate) fn key_of_row(&self, row: &Row) -> Vec<u8> {
        let mut key = Vec::with_capacity(32);
        self.key_order.encode(row, &mut key);
        key
    }

    /// The encoded key of one value per key column.
    pub(crate) fn key_of_values(&self, values: &[Value]) -> Vec<u8> {
        self.key_order.key_of_values(values).to_vec()
    }

    /// The stored form of a row's cells.
    pub(crate) fn encode(row: &Row) -> Result<Vec<u8>, MirrorError> {
        Ok(postcard::to_stdvec(row.values())?)
    }

    /// A row from its stored form.
    pub(crate) fn decode(&self, version: i64, data: &[u8]) -> Result<Arc<Row>, MirrorError> {
        let values: Vec<Value> = postcard::from_bytes(data)?;
        if values.len() != self.entity.columns().len() {
            let (found, expected) = (values.len(), self.entity.columns().len());
            let reason = format!("a row of {:?} has {found} cells instead of {expected}", self.entity.name());
            return Err(MirrorError::Damaged(reason));
        }
        Ok(Row::new(Position(version as u64), values))
    }

    /// The row of that key as the connection sees it.
    pub(crate) fn get(&self, db: &Connection, tenant: &[u8], pk: &[u8]) -> Result<Option<Arc<Row>>, MirrorError> {
        let mut statement = db.prepare_cached(&self.select)?;
        let mut rows = statement.query((tenant, pk))?;
        let Some(row) = rows.next()? else { return Ok(None) };
        self.decode(row.get(0)?, blob(row, 1)?).map(Some)
    }

    /// The row of a sourced entity under that key, `values` encoded as `pk`, in whichever partition it is.
    pub(crate) fn find(&self, db: &Connection, values: &[Value], pk: &[u8]) -> Result<Option<Arc<Row>>, MirrorError> {
        let Some(sql) = &self.select_by_pk else {
            let key = self.entity.key();
            let tenant = key.iter().position(|column| self.entity.tenant() == Some(*column)).map(|i| &values[i]);
            let Some(Value::Text(tenant)) = tenant else { return self.get(db, b"", pk) };
            return self.get(db, tenant.as_bytes(), pk);
        };
        let mut statement = db.prepare_cached(sql)?;
        let mut rows = statement.query([pk])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        self.decode(row.get(0)?, blob(row, 1)?).map(Some)
    }

    /// The tenant that may see the row; `None` for a row that is hidden.
    pub(crate) fn tenant_of(&self, row: &Row) -> Option<Tenant> {
        if self.entity.row_filter().is_some_and(|filter| !filter.matches(row)) {
            return None;
        }
        match self.entity.tenant().map(|column| row.value(column)) {
            None => Some(Tenant::common()),
            Some(Value::Text(tenant)) => Some(Tenant::new(tenant)),
            Some(_) => None,
        }
    }

    /// Why nobody may read the entity, if so.
    pub(crate) fn unavailable(&self) -> Option<Arc<str>> {
        self.unavailable.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_unavailable(&self, reason: Option<Arc<str>>) {
        *self.unavailable.write().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    /// Writes a row under its key; `old` is what stands there now.
    pub(crate) fn put(
        &self,
        db: &Connection,
        tenant: &[u8],
        pk: &[u8],
        old: Option<&Row>,
        row: &Row,
        data: &[u8],
    ) -> Result<(), MirrorError> {
        // An update that names no indexed column leaves the indexes alone.
        let same = |old: &Row| self.indexed.iter().all(|column| old.value(*column) == row.value(*column));
        let (sql, with_columns) = match old {
            None => (&self.insert, true),
            Some(old) if same(old) => (&self.update_data, false),
            Some(_) => (&self.update, true),
        };
        let mut statement = db.prepare_cached(sql)?;
        statement.raw_bind_parameter(1, tenant)?;
        statement.raw_bind_parameter(2, pk)?;
        statement.raw_bind_parameter(3, row.version() as i64)?;
        statement.raw_bind_parameter(4, data)?;
        if with_columns {
            for (i, column) in self.indexed.iter().enumerate() {
                statement.raw_bind_parameter(i + 5, key::encoded(row.value(*column)))?;
            }
        }
        statement.raw_execute()?;
        Ok(())
    }

    /// Removes every row. Without a condition SQLite frees the pages and looks at no row.
    pub(crate) fn clear(&self, db: &Connection) -> Result<(), MirrorError> {
        db.execute(&format!("DELETE FROM {}", self.name), [])?;
        Ok(())
    }

    /// Removes the row of that key.
    pub(crate) fn remove(&self, db: &Connection, tenant: &[u8], pk: &[u8]) -> Result<(), MirrorError> {
        db.prepare_cached(&self.delete)?.execute((tenant, pk))?;
        Ok(())
    }
}

/// The partition of hidden rows: no text, so no tenant's.
pub(crate) const HIDDEN: &[u8] = &[0xFF];

/// The partition of a tenant's rows, or of hidden ones.
pub(crate) fn partition(tenant: Option<&Tenant>) -> &[u8] {
    tenant.map_or(HIDDEN, |tenant| tenant.name().as_bytes())
}

/// Whether a key may stand in more than one partition, though a source has it only once.
fn is_found_by_pk(entity: &Entity) -> bool {
    let tenant_apart = entity.tenant().is_some_and(|column| !entity.key().contains(&column));
    entity.is_sourced() && (tenant_apart || entity.row_filter().is_some())
}

/// A blob column without a copy.
pub(crate) fn blob<'a>(row: &'a rusqlite::Row<'_>, column: usize) -> Result<&'a [u8], rusqlite::Error> {
    Ok(row.get_ref(column)?.as_blob()?)
}
