//! What an act leaves once its rule has decided: a row that is spent, and what is inserted in its place.
//!
//! On PostgreSQL each statement is a way to another process and back, and beginning and ending a transaction are two
//! more. So the whole outcome is one statement there, a transaction by itself: it locks what the decision rests on, spends
//! only while that stands, and inserts only where it spent. An act may then decide from what it read without a lock; where
//! something has changed meanwhile nothing is written, and the act is run again in a transaction.

use sea_orm::{DbBackend, Statement};

use super::Act;
use super::act::Connection;
use crate::fault::Fault;

/// What is to be written.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Selects and locks the rows that the decision rests on: one row where they all stand as they were. None where the
    /// row that is spent is all that it rests on.
    pub(super) held: Option<Statement>,
    /// The conditional update that spends a row. None where nothing is spent.
    pub(super) spend: Option<Statement>,
    /// What comes of it.
    pub(super) inserts: Vec<Statement>,
}

/// What an insert does where the row is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnConflict {
    Fails,
    /// It leaves the row, which is its own: what spends nothing may be sent twice, where a connection broke.
    Stands,
}

impl Outcome {
    /// Writes all of it or nothing, and gives which.
    ///
    /// # Errors
    /// Where the database is away or refuses a statement.
    pub(super) async fn write(self, act: &mut Act<'_>) -> Result<bool, Fault> {
        match act.connection {
            Connection::Sqlite(_) => self.write_singly(act).await,
            Connection::Transaction(_) | Connection::Alone(_) => {
                if self.spend.is_some() {
                    act.once();
                }
                let conflict =
                    if act.is_transaction() || self.spend.is_some() { OnConflict::Fails } else { OnConflict::Stands };
                let mut rows = act.rows(self.into_one(conflict)).await?;
                let count: i64 = rows.first_mut().ok_or_else(|| Fault::broken("nothing was counted"))?.take("count")?;
                Ok(count == 1)
            }
        }
    }

    /// One writer holds all rows of SQLite.
    async fn write_singly(self, act: &mut Act<'_>) -> Result<bool, Fault> {
        if let Some(held) = self.held
            && act.rows(held).await?.is_empty()
        {
            return Ok(false);
        }
        if let Some(spend) = self.spend
            && act.exec(spend).await? != 1
        {
            return Ok(false);
        }
        for insert in self.inserts {
            act.exec(insert).await?;
        }
        Ok(true)
    }

    /// As a statement of PostgreSQL that gives how many rows were spent, or held where nothing is.
    ///
    /// Rows that are held are locked before the first is spent, for the spending asks whether there are any; and what
    /// another transaction changed of them until then is seen (a `SELECT … FOR SHARE` looks again at what it waited for).
    fn into_one(self, conflict: OnConflict) -> Statement {
        let (mut text, mut values) = (String::from("WITH "), Vec::new());
        let mut add = |before: &str, statement: Statement, after: &str| {
            text.push_str(before);
            text.push_str(&renumbered(&statement.sql, values.len()));
            text.push_str(after);
            values.extend(statement.values.map(|values| values.0).unwrap_or_default());
        };
        let (holds, spends) = (self.held.is_some(), self.spend.is_some());
        if let Some(held) = self.held {
            add("held AS (", held, ")");
        }
        if let Some(spend) = self.spend {
            match holds {
                true => add(", spent AS (", spend, " AND EXISTS (SELECT 1 FROM held) RETURNING 1)"),
                false => add("spent AS (", spend, " RETURNING 1)"),
            }
        }
        let from = if spends { "spent" } else { "held" };
        for (index, mut insert) in self.inserts.into_iter().enumerate() {
            insert.sql = where_there_is(&insert.sql, from);
            let end = match conflict {
                OnConflict::Fails => " RETURNING 1)",
                OnConflict::Stands => " ON CONFLICT DO NOTHING RETURNING 1)",
            };
            add(&format!(", inserted{index} AS ("), insert, end);
        }
        text.push_str(&format!(" SELECT COUNT(*) FROM {from}"));
        Statement::from_sql_and_values(DbBackend::Postgres, text, values)
    }
}

/// An `INSERT … VALUES (…)` as one that inserts for each row of `from`. The values are parameters: there is no other
/// parenthesis at the end.
fn where_there_is(insert: &str, from: &str) -> String {
    let selected = insert.replacen(" VALUES (", " SELECT ", 1);
    format!("{} FROM {from}", selected.trim_end_matches(')'))
}

/// The text with its `$1` as `$1` behind so many values that come before. Statements are built: their texts have no `$`
/// but those of values.
fn renumbered(text: &str, before: usize) -> String {
    let mut pieces = text.split('$');
    let mut renumbered = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let digits = piece.find(|character: char| !character.is_ascii_digit()).unwrap_or(piece.len());
        let (number, rest) = piece.split_at(digits);
        let number = number.parse::<usize>().unwrap_or_default() + before;
        renumbered.push_str(&format!("${number}{rest}"));
    }
    renumbered
}

#[cfg(test)]
mod tests {
    use sea_orm::Value;

    use super::*;

    fn statement(text: &str, values: &[i64]) -> Statement {
        Statement::from_sql_and_values(DbBackend::Postgres, text, values.iter().map(|&value| value.into()))
    }

    fn held() -> Statement {
        statement("SELECT u FROM users WHERE u = $1 FOR SHARE OF users", &[7])
    }

    fn insert() -> Statement {
        statement("INSERT INTO \"a\" (\"b\", \"c\") VALUES ($1, $2)", &[3, 4])
    }

    #[test]
    fn spending_is_one_statement() {
        let spend = || Some(statement("UPDATE a SET b = $1 WHERE c = $2 AND d IS NULL", &[1, 2]));
        let one = Outcome { held: None, spend: spend(), inserts: vec![insert(), insert()] }.into_one(OnConflict::Fails);
        assert_eq!(
            one.sql,
            "WITH spent AS (UPDATE a SET b = $1 WHERE c = $2 AND d IS NULL RETURNING 1), \
             inserted0 AS (INSERT INTO \"a\" (\"b\", \"c\") SELECT $3, $4 FROM spent RETURNING 1), \
             inserted1 AS (INSERT INTO \"a\" (\"b\", \"c\") SELECT $5, $6 FROM spent RETURNING 1) \
             SELECT COUNT(*) FROM spent"
        );
        assert_eq!(one.values.unwrap().0, [1_i64, 2, 3, 4, 3, 4].map(Value::from));
        let one = Outcome { held: Some(held()), spend: spend(), inserts: vec![insert()] }.into_one(OnConflict::Fails);
        assert_eq!(
            one.sql,
            "WITH held AS (SELECT u FROM users WHERE u = $1 FOR SHARE OF users), \
             spent AS (UPDATE a SET b = $2 WHERE c = $3 AND d IS NULL AND EXISTS (SELECT 1 FROM held) RETURNING 1), \
             inserted0 AS (INSERT INTO \"a\" (\"b\", \"c\") SELECT $4, $5 FROM spent RETURNING 1) \
             SELECT COUNT(*) FROM spent"
        );
        assert_eq!(one.values.unwrap().0, [7_i64, 1, 2, 3, 4].map(Value::from));
    }

    #[test]
    fn what_spends_nothing_rests_on_what_is_held() {
        let one = Outcome { held: Some(held()), spend: None, inserts: vec![insert()] }.into_one(OnConflict::Stands);
        assert_eq!(
            one.sql,
            "WITH held AS (SELECT u FROM users WHERE u = $1 FOR SHARE OF users), \
             inserted0 AS (INSERT INTO \"a\" (\"b\", \"c\") SELECT $2, $3 FROM held ON CONFLICT DO NOTHING RETURNING 1) \
             SELECT COUNT(*) FROM held"
        );
    }
}
