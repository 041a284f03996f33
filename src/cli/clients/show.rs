//! Clients as the command line shows them.

use keyward_entities::client;
use keyward_protocol::client_metadata::{ClientMetadata, ClientType};
use serde_json::{Value, json};

use super::super::output::{Failure, Report, fields, table};
use crate::account::client::uses_secret;
use crate::clock::moment;
use crate::store::client::RegisteredClient;

/// A table of clients.
pub(super) fn list(clients: Vec<client::Model>) -> Result<Report, Failure> {
    let mut json = Vec::new();
    let mut rows = Vec::new();
    for client in clients {
        let metadata = ClientMetadata::from_stored(&client.metadata)?;
        let kind = kind(metadata.client_type);
        let grants: Vec<&str> = metadata.grant_types.iter().map(|grant| grant.as_str()).collect();
        json.push(json!({
            "client_id": client.client_id,
            "client_name": metadata.client_name,
            "client_type": kind,
            "grant_types": grants,
            "disabled": client.disabled_at.is_some(),
        }));
        let state = if client.disabled_at.is_some() { "disabled" } else { "active" };
        rows.push([client.client_id, metadata.client_name, kind.to_owned(), grants.join(", "), state.to_owned()]);
    }
    let text = table(["CLIENT", "NAME", "TYPE", "GRANTS", "STATE"], rows, "no clients");
    Ok(Report { json: Value::Array(json), text })
}

fn kind(client_type: ClientType) -> &'static str {
    match client_type {
        ClientType::Confidential => "confidential",
        ClientType::Public => "public",
    }
}

/// A client's metadata, and how many secrets it has.
pub(super) fn show(client: &RegisteredClient) -> Result<Report, Failure> {
    let metadata = serde_json::to_value(&client.metadata)?;
    let ends: Vec<Option<String>> = client.secrets.iter().map(|(_, ends)| ends.map(moment)).collect();
    let disabled_at = client.disabled_at.map(moment);
    let mut pairs = vec![("client_id", client.client_id.clone())];
    if let Value::Object(members) = &metadata {
        for (name, value) in members {
            pairs.push((name, in_words(value)));
        }
    }
    let secrets = ends.iter().map(|ends| match ends {
        None => "works without end".to_owned(),
        Some(moment) => format!("works until {moment}"),
    });
    if uses_secret(&client.metadata) {
        pairs.push(("secrets", format!("{}: {}", ends.len(), secrets.collect::<Vec<_>>().join(", "))));
    }
    pairs.push(("disabled", disabled_at.clone().unwrap_or_default()));
    let text = fields(&pairs);
    let secrets: Vec<Value> = ends.into_iter().map(|ends| json!({ "expires_at": ends })).collect();
    let json = json!({
        "client_id": client.client_id,
        "metadata": metadata,
        "secrets": secrets,
        "disabled_at": disabled_at,
    });
    Ok(Report { json, text })
}

/// A value of the metadata for people; what isn't set is empty.
fn in_words(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(in_words).collect::<Vec<_>>().join(", "),
        Value::Object(members) => {
            let named = members.iter().filter(|(_, value)| !value.is_null());
            named.map(|(name, value)| format!("{name}: {}", in_words(value))).collect::<Vec<_>>().join(", ")
        }
        Value::Bool(flag) => if *flag { "yes" } else { "no" }.to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_hash_is_shown() {
        let client = RegisteredClient {
            id: uuid::Uuid::nil(),
            client_id: "shop".into(),
            metadata: ClientMetadata { client_name: "Shop".into(), ..ClientMetadata::default() },
            secrets: vec![(vec![0xab; 32], None), (vec![0xcd; 32], Some(keyward_protocol::Timestamp::from_seconds(0)))],
            keys: None,
            disabled_at: None,
            created_at: keyward_protocol::Timestamp::from_seconds(0),
        };
        let report = show(&client).unwrap();
        assert_eq!(report.json["secrets"], json!([{ "expires_at": null }, { "expires_at": "1970-01-01T00:00:00Z" }]));
        assert!(report.text.contains("2: works without end, works until 1970-01-01T00:00:00Z"), "{}", report.text);
        assert!(!report.json.to_string().contains("171"), "an octet of the hash");
    }
}
