//! Tables that lie in the order of their keys, and rows that are found by a place or, the oldest, by a hash. What a change
//! of the past uses is never altered here.

use sea_orm_migration::prelude::*;

use crate::columns::{flag, name, nullable, unique};

/// Whether a row is found by its hash alone.
pub(crate) fn hash_only() -> ColumnDef {
    // What is there says no place, and neither does what a program adds that doesn't know of them.
    nullable(flag("hash_only")).default(true).take()
}

/// An index over the hashes of those rows alone.
pub(crate) fn by_hash(table: &str, hash: &str) -> IndexCreateStatement {
    unique(table, &[hash])
        .name(format!("uq_{table}_hash_only"))
        .and_where(Expr::col(name("hash_only")).is_not_null())
        .take()
}

/// Copies a table that refers to no other into one that is laid out otherwise, and puts that in its place. Its indexes go
/// with it.
pub(crate) async fn lay_out_anew(
    manager: &SchemaManager<'_>,
    table: &str,
    columns: Vec<ColumnDef>,
    key: &[&str],
) -> Result<(), DbErr> {
    copy_anew(manager, table, columns, key, &[]).await
}

/// As [`lay_out_anew`], for a table with columns that refer to the `id` of others and whose rows go with those.
pub(crate) async fn copy_anew(
    manager: &SchemaManager<'_>,
    table: &str,
    columns: Vec<ColumnDef>,
    key: &[&str],
    references: &[(&str, &str)],
) -> Result<(), DbErr> {
    let placed = format!("{table}_placed");
    let mut primary = Index::create();
    for &column in key {
        primary.col(name(column));
    }
    let mut create = Table::create();
    create.table(name(&placed)).primary_key(&mut primary).extra("WITHOUT ROWID");
    for &(column, other) in references {
        reference(&mut create, table, column, other);
    }
    let mut copied: Vec<String> = Vec::new();
    for mut column in columns {
        // What is new gets its default.
        if column.get_column_name() != "hash_only" {
            copied.push(format!("\"{}\"", column.get_column_name()));
        }
        create.col(&mut column);
    }
    manager.create_table(create).await?;
    let copied = copied.join(", ");
    let order = key.iter().map(|column| format!("\"{column}\"")).collect::<Vec<_>>().join(", ");
    let connection = manager.get_connection();
    let copy = format!("INSERT INTO \"{placed}\" ({copied}) SELECT {copied} FROM \"{table}\" ORDER BY {order}");
    connection.execute_unprepared(&copy).await?;
    manager.drop_table(Table::drop().table(name(table)).take()).await?;
    manager.rename_table(Table::rename().table(name(&placed), name(table)).take()).await
}

/// Has a column refer to the `id` of another table: rows go with those they refer to.
pub(crate) fn reference(create: &mut TableCreateStatement, table: &str, column: &str, other: &str) {
    create.foreign_key(
        ForeignKey::create()
            .from(name(table), name(column))
            .to(name(other), name("id"))
            .on_delete(ForeignKeyAction::Cascade),
    );
}

/// From now on a program must know so many changes to work on this database.
pub(crate) async fn require_changes(manager: &SchemaManager<'_>, least: &str) -> Result<(), DbErr> {
    let fact = Query::insert()
        .into_table(name("server_facts"))
        .columns([name("name"), name("value")])
        .values_panic(["schema_least_changes".into(), least.into()])
        .on_conflict(OnConflict::column(name("name")).update_column(name("value")).to_owned())
        .take();
    manager.get_connection().execute(&fact).await?;
    Ok(())
}
