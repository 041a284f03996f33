//! The schema, one file per change. Expand first, contract one release later, never rename.

use sea_orm_migration::prelude::*;

mod columns;
mod layout;
mod m0001_initial;
mod m0002_key_life;
mod m0003_remembered_tokens;
mod m0005_claims_and_scope_roles;
mod m0006_looks_and_lives;
mod m0007_places;
mod m0008_own_opaque_tokens;
mod m0009_codes_say_their_place;
mod m0010_fewer_pages;

pub use sea_orm_migration::MigratorTrait;

/// Every change, in order.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_initial::Migration),
            Box::new(m0002_key_life::Migration),
            Box::new(m0003_remembered_tokens::Migration),
            Box::new(m0005_claims_and_scope_roles::Migration),
            Box::new(m0006_looks_and_lives::Migration),
            Box::new(m0007_places::Migration),
            Box::new(m0008_own_opaque_tokens::Migration),
            Box::new(m0009_codes_say_their_place::Migration),
            Box::new(m0010_fewer_pages::Migration),
        ]
    }
}
