//! Opaque tokens: how they are found.

use super::Tables;

on_each_database! {
    async fn a_clients_own_are_found_by_the_client(server) {
        let tables = Tables::of(server).await;
        let postgres = server.database().url().starts_with("postgres");
        // Two thousand tokens of forty clients, each second one a person's.
        let (numbers, id, hash) = if postgres {
            (
                "SELECT number FROM generate_series(1, 2000) AS numbers (number)",
                "('00000000-0000-7000-8000-' || lpad((number % 40)::text, 12, '0'))::uuid",
                "decode(lpad(to_hex(number), 64, '0'), 'hex')",
            )
        } else {
            (
                "WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < 2000) \
                 SELECT number FROM numbers",
                "unhex(printf('00000000000070008000%012d', number % 40))",
                "unhex(printf('%064x', number))",
            )
        };
        tables
            .run(&format!(
                "INSERT INTO opaque_tokens (token_hash, jti, client, client_id, grant_id, scope, audience, issued_at, \
                 expires_at) SELECT {hash}, 'jti', {id}, 'batch', CASE WHEN number % 2 = 0 THEN {id} END, '', '[]', 0, 0 \
                 FROM ({numbers}) AS numbers"
            ))
            .await;
        tables.run("ANALYZE").await;
        // The statement of `end_own` in `src/store/access_token.rs`.
        let one = if postgres { "'00000000-0000-7000-8000-000000000007'" } else { "x'00000000000070008000000000000007'" };
        let own = format!("FROM opaque_tokens WHERE client = {one} AND grant_id IS NULL");
        assert_eq!(tables.number(&format!("SELECT COUNT(*) {own}")).await, 50);
        let plan = tables.plan(&format!("DELETE {own}")).await;
        assert!(plan.contains("ix_opaque_tokens_client"), "{plan}");
        // Of a person's tokens nothing is in the index.
        if postgres {
            let rows = "SELECT reltuples::bigint FROM pg_class WHERE relname = 'ix_opaque_tokens_client'";
            assert_eq!(tables.number(rows).await, 1000);
        }
    }
}
