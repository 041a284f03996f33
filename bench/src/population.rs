//! A population of any size: users, clients, sessions, consents and live grants, each derived from its number, so that
//! neither the generator nor the seeding has to remember a secret.
//!
//! The rows are those that a registration, a login and a code flow would have left. Leaves out passwords: nobody of the
//! population signs in by one.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyward_entities::{client, client_secret, consent, grant, refresh_token, session, user};
use keyward_keys::{Algorithm, MacKey, MasterKey, Purpose, RootSecret};
use keyward_protocol::client_metadata::{ClientMetadata, GrantType};
use keyward_protocol::refresh_token::{Place, form};
use keyward_protocol::scope::ScopeSet;
use uuid::Uuid;

use crate::clock;
use crate::failure::{During, Failure};
use crate::provision::{Client, REDIRECT_URI};

/// What clients may ask for, and what everybody has allowed.
const CONSENTED: &str = "openid profile offline_access";
/// What the grants are for: without an ID token, and apart from the session.
const GRANTED: &str = "profile offline_access";
/// A day in microseconds.
const DAY: i64 = 86_400_000_000;

/// What is derived, so that no two are alike.
#[derive(Clone, Copy)]
enum Part {
    User = 1,
    Client,
    ClientSecret,
    SecretRow,
    Session,
    SessionCookie,
    Consent,
    Grant,
    RefreshToken,
    RefreshRow,
    Subject,
    PublicId,
}

/// Who there is.
pub struct Population {
    /// Users, clients, sessions and consents.
    pub size: u64,
    /// Live grants; more than users where there would be fewer than connections to use them.
    pub grants: u64,
    key: [u8; 32],
    born: i64,
    metadata: String,
}

/// The keys under which the server stores hashes of secrets.
pub struct Hashes {
    client_secret: MacKey,
    token: MacKey,
    session: MacKey,
}

impl Hashes {
    /// Those of a server by its master key, in the text of its file, and the root secret that is sealed under it.
    ///
    /// # Errors
    /// When the text isn't a master key, or not the one that opens the root secret.
    pub fn open(master_key: &str, sealed_root: &[u8]) -> Result<Self, Failure> {
        let master = MasterKey::parse(master_key.trim()).during("reading the server's master key")?;
        Ok(Self::of(&RootSecret::open(&master, sealed_root).during("opening the server's root secret")?))
    }

    fn of(root: &RootSecret) -> Self {
        let mac = |purpose| MacKey::new(root.derive(purpose));
        Self {
            client_secret: mac(Purpose::ClientSecretHash),
            token: mac(Purpose::TokenHash),
            session: mac(Purpose::SessionHash),
        }
    }
}

impl Population {
    /// `size` users and clients of whom at least `fewest` grants live; `resource` is the clients' default audience.
    ///
    /// # Errors
    /// When the system has no chance to give, or the metadata can't be written.
    pub fn new(size: u64, fewest: u64, resource: &str) -> Result<Self, Failure> {
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key).during("asking for random bytes")?;
        let scope = ScopeSet::parse(&format!("{CONSENTED} read"))
            .map_err(|refusal| Failure::new(format!("the clients' scope: {refusal:?}")))?;
        let metadata = ClientMetadata {
            client_name: "One of many".to_owned(),
            redirect_uris: vec![REDIRECT_URI.to_owned()],
            grant_types: GrantType::ALL.to_vec(),
            scope,
            id_token_signed_response_alg: Algorithm::Es256,
            resources: vec![resource.to_owned()],
            ..ClientMetadata::default()
        };
        let metadata = metadata.to_stored().during("writing a client's metadata")?;
        Ok(Self { size, grants: size.max(fewest), key, born: clock::calendar_microseconds(), metadata })
    }

    fn octets(&self, part: Part, number: u64) -> [u8; 32] {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.key);
        context.update(&[part as u8]);
        context.update(&number.to_be_bytes());
        let mut octets = [0; 32];
        octets.copy_from_slice(context.finish().as_ref());
        octets
    }

    /// A secret as the server makes them: 256 bits in 43 characters.
    fn secret(&self, part: Part, number: u64) -> String {
        URL_SAFE_NO_PAD.encode(self.octets(part, number))
    }

    /// A name as the server makes them: 128 bits in 22 characters.
    fn name(&self, part: Part, number: u64) -> String {
        let octets = self.octets(part, number);
        URL_SAFE_NO_PAD.encode(octets.first_chunk::<16>().unwrap_or(&[0; 16]))
    }

    /// A UUIDv7; later numbers are later moments, as if one had come after the other.
    fn id(&self, part: Part, number: u64) -> Uuid {
        let octets = self.octets(part, number);
        let millis = u64::try_from(self.born / 1_000).unwrap_or_default();
        let moment = millis.saturating_sub(self.grants.saturating_sub(number));
        uuid::Builder::from_unix_timestamp_millis(moment, octets.first_chunk::<10>().unwrap_or(&[0; 10])).into_uuid()
    }

    fn owner(&self, grant: u64) -> u64 {
        grant % self.size.max(1)
    }

    fn client_id(number: u64) -> String {
        format!("population-{number}")
    }

    /// The client of this number with its secret.
    pub fn client(&self, number: u64) -> Client {
        Client::new(&Self::client_id(number), &self.secret(Part::ClientSecret, number))
    }

    /// The client of this grant.
    pub fn client_of(&self, grant: u64) -> Client {
        self.client(self.owner(grant))
    }

    /// The value of the session cookie of this user.
    pub fn session_cookie(&self, number: u64) -> String {
        self.secret(Part::SessionCookie, number)
    }

    /// The refresh token with which this grant begins.
    pub fn refresh_token(&self, grant: u64) -> String {
        let place = Place { grant: self.id(Part::Grant, grant), token: self.id(Part::RefreshRow, grant) };
        form(place, &self.secret(Part::RefreshToken, grant))
    }

    /// The row of a user.
    pub fn user(&self, number: u64, organization: Uuid) -> user::Model {
        let username = format!("Person{number}");
        user::Model {
            id: self.id(Part::User, number),
            organization_id: organization,
            subject: self.name(Part::Subject, number),
            login_key: username.to_lowercase(),
            claims: format!(
                r#"{{"name":"Person Number {number}","given_name":"Person","family_name":"Number {number}","email":"person{number}@bench.example","email_verified":true,"locale":"en"}}"#
            ),
            username,
            attributes: "{}".to_owned(),
            password_hash: None,
            password_changed_at: None,
            disabled_at: None,
            created_at: self.born,
            updated_at: self.born,
        }
    }

    /// The row of a client.
    pub fn client_row(&self, number: u64, organization: Uuid) -> client::Model {
        client::Model {
            id: self.id(Part::Client, number),
            organization_id: organization,
            client_id: Self::client_id(number),
            metadata: self.metadata.clone(),
            disabled_at: None,
            created_at: self.born,
            updated_at: self.born,
            longest_token_life: None,
        }
    }

    /// The row of a client's secret.
    pub fn secret_row(&self, number: u64, hashes: &Hashes) -> client_secret::Model {
        let secret = self.secret(Part::ClientSecret, number);
        client_secret::Model {
            id: self.id(Part::SecretRow, number),
            client: self.id(Part::Client, number),
            secret_hash: hashes.client_secret.hash(secret.as_bytes()).to_vec(),
            sealed_secret: None,
            created_at: self.born,
            expires_at: None,
        }
    }

    /// The row of a user's session.
    pub fn session(&self, number: u64, hashes: &Hashes) -> session::Model {
        session::Model {
            id: self.id(Part::Session, number),
            session_hash: hashes.session.hash(self.session_cookie(number).as_bytes()).to_vec(),
            public_id: self.name(Part::PublicId, number),
            user_id: self.id(Part::User, number),
            auth_time: self.born,
            acr: "urn:keyward:acr:1".to_owned(),
            amr: r#"["pwd"]"#.to_owned(),
            created_at: self.born,
            last_seen_at: self.born,
            expires_at: self.born + 30 * DAY,
            ended_at: None,
            end_reason: None,
            user_agent: "keyward-bench".to_owned(),
            address: "127.0.0.1".to_owned(),
        }
    }

    /// The row of what a user allowed the client of the same number.
    pub fn consent(&self, number: u64) -> consent::Model {
        consent::Model {
            id: self.id(Part::Consent, number),
            user_id: self.id(Part::User, number),
            client: self.id(Part::Client, number),
            scope: CONSENTED.to_owned(),
            created_at: self.born,
            updated_at: self.born,
            claims: "[]".to_owned(),
        }
    }

    /// The row of a grant of user and client.
    pub fn grant(&self, number: u64) -> grant::Model {
        let owner = self.owner(number);
        grant::Model {
            id: self.id(Part::Grant, number),
            user_id: self.id(Part::User, owner),
            client: self.id(Part::Client, owner),
            session_id: self.id(Part::Session, owner),
            tied_to_session: false,
            scope: GRANTED.to_owned(),
            resources: "[]".to_owned(),
            auth_time: self.born,
            acr: "urn:keyward:acr:1".to_owned(),
            amr: r#"["pwd"]"#.to_owned(),
            created_at: self.born,
            expires_at: self.born + 90 * DAY,
            ended_at: None,
            end_reason: None,
            requested_claims: None,
        }
    }

    /// The row of a grant's refresh token.
    pub fn refresh_row(&self, grant: u64, hashes: &Hashes) -> refresh_token::Model {
        refresh_token::Model {
            id: self.id(Part::RefreshRow, grant),
            token_hash: hashes.token.hash(self.secret(Part::RefreshToken, grant).as_bytes()).to_vec(),
            grant_id: self.id(Part::Grant, grant),
            issued_at: self.born,
            expires_at: self.born + 7 * DAY,
            spent_at: None,
            successor_id: None,
            sealed_successor: None,
            hash_only: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_someone_else_and_always_the_same() {
        let people = Population::new(10, 64, "https://api.bench.example").unwrap();
        assert_eq!((people.size, people.grants), (10, 64));
        let hashes = Hashes::of(&RootSecret::generate().unwrap());
        assert_eq!(people.secret_row(3, &hashes), people.secret_row(3, &hashes));
        assert_ne!(people.session(3, &hashes).session_hash, people.session(4, &hashes).session_hash);
        assert_eq!(people.session_cookie(3).len(), 43);
        assert_ne!(people.session_cookie(3), people.refresh_token(3));
        let (grant, token) = (people.grant(13), people.refresh_row(13, &hashes));
        assert_eq!((grant.client, grant.user_id), (people.consent(3).client, people.consent(3).user_id));
        assert_eq!((token.grant_id, people.client_of(13).id), (grant.id, people.client(3).id));
        assert!(people.id(Part::User, 3) < people.id(Part::User, 4));
        let fresh = Population::new(10, 64, "https://api.bench.example").unwrap();
        assert_ne!(fresh.refresh_token(1), people.refresh_token(1));
    }
}
