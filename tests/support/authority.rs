//! A certificate authority of one test, and the certificate for `localhost` that the test's servers show.

use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use base64::{Engine, prelude::BASE64_STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData,
};
use tempfile::TempDir;

/// A folder with the files of an authority and of the certificate that it issued.
pub struct TestAuthority {
    folder: TempDir,
    ca_pem: String,
    key_pin: String,
}

impl TestAuthority {
    /// A new authority and a certificate for `localhost`.
    pub fn new() -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "Authority of the Keyward tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_pem = params.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::new(params, ca_key);

        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "localhost");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &issuer).unwrap();

        let spki = key.subject_public_key_info();
        let key_pin = BASE64_STANDARD.encode(digest::digest(&digest::SHA256, &spki));
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("ca.pem"), &ca_pem).unwrap();
        std::fs::write(folder.path().join("certificate.pem"), certificate.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
        Self { folder, ca_pem, key_pin }
    }

    /// The authority's own certificate, for programs that take a file.
    pub fn ca_file(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// The authority's own certificate, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The certificate for `localhost`, PEM.
    pub fn certificate_file(&self) -> PathBuf {
        self.file("certificate.pem")
    }

    /// The key of the certificate, PEM.
    pub fn key_file(&self) -> PathBuf {
        self.file("key.pem")
    }

    /// SHA-256 of the certificate's public key (SubjectPublicKeyInfo) in base64, by which Chromium accepts it.
    pub fn key_pin(&self) -> &str {
        &self.key_pin
    }

    /// A folder that lives as long as the authority.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
