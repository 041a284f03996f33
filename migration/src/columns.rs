//! Columns and indexes as the changes write them: nothing of a column but its name and kind, so that both databases take
//! it, and the names of indexes by one rule. What a change of the past uses is never altered here.

use sea_orm_migration::prelude::*;

/// The name of a table, a column or an index.
pub(crate) fn name(text: &str) -> Alias {
    Alias::new(text)
}

/// A key.
pub(crate) fn uuid(column: &str) -> ColumnDef {
    ColumnDef::new(name(column)).uuid().not_null().take()
}

/// A text.
pub(crate) fn text(column: &str) -> ColumnDef {
    ColumnDef::new(name(column)).text().not_null().take()
}

/// A whole number.
pub(crate) fn number(column: &str) -> ColumnDef {
    ColumnDef::new(name(column)).big_integer().not_null().take()
}

/// A moment, in microseconds since 1970.
pub(crate) fn moment(column: &str) -> ColumnDef {
    number(column)
}

/// Octets.
pub(crate) fn octets(column: &str) -> ColumnDef {
    ColumnDef::new(name(column)).binary().not_null().take()
}

/// True or false.
pub(crate) fn flag(column: &str) -> ColumnDef {
    ColumnDef::new(name(column)).boolean().not_null().take()
}

/// The same column, which may also have no value.
pub(crate) fn nullable(mut column: ColumnDef) -> ColumnDef {
    column.null().take()
}

/// A column more in a table that is there.
pub(crate) fn add(table: &str, mut column: ColumnDef) -> TableAlterStatement {
    Table::alter().table(name(table)).add_column(&mut column).take()
}

/// An index over these columns.
pub(crate) fn index(table: &str, columns: &[&str]) -> IndexCreateStatement {
    over("ix", table, columns)
}

/// An index over these columns, whose values no two rows share.
pub(crate) fn unique(table: &str, columns: &[&str]) -> IndexCreateStatement {
    over("uq", table, columns).unique().take()
}

/// An index over a column, of those rows only that have a value in it: a moment that few rows ever reach, say, so that
/// nothing is written to the index until they do.
pub(crate) fn index_of_set(table: &str, column: &str) -> IndexCreateStatement {
    index(table, &[column]).and_where(Expr::col(name(column)).is_not_null()).take()
}

fn over(kind: &str, table: &str, columns: &[&str]) -> IndexCreateStatement {
    let mut create = Index::create();
    create.name(format!("{kind}_{table}_{}", columns.join("_"))).table(name(table));
    for column in columns {
        create.col(name(column));
    }
    create.take()
}
