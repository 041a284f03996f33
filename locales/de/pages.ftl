# Jedes Wort der Seiten auf Deutsch. Jede Datei in locales/ hat dieselben Meldungen mit denselben Variablen.
# Eine Meldung je Zeile; eine Variable steht als { $name }.

brand = Keyward
signed-in-as = Angemeldet als
title-problem = Problem:
problem-title = Bitte prüfen Sie das
return-to = Zurück zu { $client }

## Felder

field-username = Benutzername
field-password = Passwort
field-password-again = Passwort, noch einmal
field-current-password = Jetziges Passwort
field-new-password = Neues Passwort
field-email = E-Mail
field-optional = (freiwillig)

## Anmeldung

login-title = Anmelden
login-lead = und weiter zu
login-submit = Anmelden
login-cancel = Abbrechen
login-wrong-credentials = Benutzername oder Passwort stimmt nicht. Bitte versuchen Sie es noch einmal.
login-stale-form = Diese Seite war zu lange offen. Bitte melden Sie sich noch einmal an.
login-busy = Gerade melden sich viele an. Bitte versuchen Sie es in ein paar Sekunden noch einmal.
login-reauthenticate = Bitte bestätigen Sie, dass Sie es sind: Melden Sie sich noch einmal an.

## Zustimmung

consent-title = Zugriff erlauben?
consent-lead = Eine App möchte Ihr Konto nutzen.
consent-app = App
consent-account = Ihr Konto
consent-website = Website der App
consent-loopback = Dieses Programm läuft auf Ihrem eigenen Gerät, und wir können seinen Namen nicht prüfen. Erlauben Sie es nur, wenn Sie es gerade selbst gestartet haben.
consent-grants = Die App kann dann
consent-next = Wie Sie auch wählen: Danach geht es zurück zu { $host }. Auf Ihrer Kontoseite können Sie den Zugriff jederzeit beenden.
consent-allow = Erlauben
consent-deny = Ablehnen
consent-policy = Datenschutz
consent-terms = Nutzungsbedingungen

## Berechtigungen

scope-openid-title = Sie wiedererkennen
scope-openid-detail = Sie erfährt eine Kennung, die für Ihr Konto steht.
scope-profile-title = Ihr Profil sehen
scope-profile-detail = Etwa Namen, Bild und Sprache.
scope-email-title = Ihre E-Mail-Adresse sehen
scope-email-detail = Und ob sie bestätigt ist.
scope-phone-title = Ihre Telefonnummer sehen
scope-phone-detail = Und ob sie bestätigt ist.
scope-address-title = Ihre Postanschrift sehen
scope-address-detail = Die Anschrift, die in Ihrem Konto steht.
scope-offline_access-title = Den Zugriff behalten, wenn Sie nicht da sind
scope-offline_access-detail = Bis Sie ihn auf Ihrer Kontoseite beenden.
scope-roles-title = Ihre Rollen sehen
scope-roles-detail = Wofür Sie hier zuständig sind.
scope-groups-title = Ihre Gruppen sehen
scope-groups-detail = Zu welchen Teams Sie hier gehören.
scope-permissions-title = Ihre Rechte sehen
scope-permissions-detail = Was Sie hier tun dürfen.
scope-other-detail = Eine Berechtigung, die der Hersteller der App festgelegt hat.
claim-name = Ihren Namen sehen
claim-given_name = Ihren Vornamen sehen
claim-family_name = Ihren Nachnamen sehen
claim-middle_name = Ihren zweiten Vornamen sehen
claim-nickname = Ihren Spitznamen sehen
claim-preferred_username = Ihren Benutzernamen sehen
claim-profile = Die Adresse Ihrer Profilseite sehen
claim-picture = Ihr Bild sehen
claim-website = Ihre Website sehen
claim-gender = Ihr Geschlecht sehen
claim-birthdate = Ihr Geburtsdatum sehen
claim-zoneinfo = Ihre Zeitzone sehen
claim-locale = Ihre Sprache und Region sehen
claim-updated_at = Sehen, wann sich Ihre Angaben zuletzt geändert haben
claim-email = Ihre E-Mail-Adresse sehen
claim-email_verified = Sehen, ob Ihre E-Mail-Adresse bestätigt ist
claim-phone_number = Ihre Telefonnummer sehen
claim-phone_number_verified = Sehen, ob Ihre Telefonnummer bestätigt ist
claim-address = Ihre Postanschrift sehen
claim-roles = Ihre Rollen sehen
claim-groups = Ihre Gruppen sehen
claim-permissions = Ihre Rechte sehen

## Wahl des Kontos

select-title = Konto wählen
select-lead = Sie sind auf dem Weg zu { $client }.
select-other = Ein anderes Konto verwenden

## Das erste Konto

setup-title = Willkommen bei Keyward
setup-lead = Legen Sie das erste Konto an. Es verwaltet diesen Server.
setup-password-advice = Mehrere Wörter hintereinander sind stark und leicht zu merken.
setup-submit = Konto anlegen
setup-expired-title = Dieser Link ist abgelaufen
setup-expired-text = Wer diesen Server betreibt, kann auf der Befehlszeile einen neuen Link machen.
setup-done-title = Der Server ist eingerichtet
setup-done-text = Das erste Konto besteht schon; dieser Link hat seinen Zweck erfüllt.

## Ein neues Passwort

change-password-title = Passwort ändern
change-password-lead = Alle anderen Geräte und Apps werden abgemeldet.
change-password-submit = Passwort ändern
change-password-cancel = Das alte behalten

## Die eigene Seite

home-title = Ihr Konto
home-news = Neues
home-email = E-Mail
home-roles = Rollen
home-groups = Gruppen
home-session = Angemeldet seit
home-apps = Verbundene Apps
home-no-apps = Keine App hat Zugriff auf Ihr Konto.
home-app-since = Hat Zugriff seit { $since }
home-app-disconnected = Die App hat keinen Zugriff mehr.
home-change-password = Passwort ändern
home-password-changed = Ihr Passwort ist neu. Überall sonst sind Sie abgemeldet.
home-disconnect = Trennen
home-disconnect-app = { $client } trennen
home-sign-out = Abmelden

## Abmeldung

end-title = Abmelden?
end-lead = Sie werden hier abgemeldet und in den Apps, die darauf achten.
end-lead-client = { $client } möchte Sie abmelden, hier und in den Apps, die darauf achten.
end-sign-out = Abmelden
end-stay = Angemeldet bleiben
signed-out-title = Sie sind abgemeldet
signed-out-text = Wenn auch andere dieses Gerät benutzen, schließen Sie noch den Browser.
signed-out-again = Wieder anmelden

## Antwort per Formular

form-post-title = Einen Moment
form-post-text = Es geht zurück zur App. Wenn nichts geschieht, wählen Sie „Weiter“.
form-post-continue = Weiter

## Fehler

error-what-next = Was Sie tun können
error-code = Fehlercode
error-request-id = Anfrage-ID

error-unknown-client-title = Wir kennen diese App nicht
error-unknown-client-explanation = Die App, von der Sie kommen, ist bei diesem Server nicht oder nicht mehr registriert.
error-unknown-client-advice = Gehen Sie zurück zur App und versuchen Sie es noch einmal. Bleibt es dabei, sagen Sie dem Hersteller der App: Die Client-ID ist falsch.

error-redirect-uri-title = Wir können Sie nicht zu dieser App zurückbringen
error-redirect-uri-explanation = Die App nennt als Ziel eine Adresse, die für sie nicht registriert ist. Zu Ihrer Sicherheit halten wir hier an.
error-redirect-uri-advice = Sagen Sie dem Hersteller der App: Die Redirect-URI muss Zeichen für Zeichen einer registrierten gleichen.

error-bad-request-title = Dieser Link funktioniert nicht
error-bad-request-explanation = Die Anfrage, mit der Sie kommen, ist unvollständig oder falsch.
error-bad-request-advice = Gehen Sie zurück zur App und beginnen Sie von vorn. Bleibt es dabei, sagen Sie es dem Hersteller der App.

error-stale-form-title = Diese Seite ist zu alt
error-stale-form-explanation = Sie war zu lange offen, oder sie stammt aus einem anderen Browser.
error-stale-form-advice = Gehen Sie zurück zur App und beginnen Sie von vorn.

error-busy-title = Zu viel auf einmal
error-busy-explanation = Der Server bekommt gerade mehr Anfragen, als er beantworten kann.
error-busy-advice = Warten Sie einen Moment und laden Sie diese Seite neu.

error-unavailable-title = Wir sind kurz nicht da
error-unavailable-explanation = Ein Teil des Servers ist gerade nicht erreichbar. Ihre Daten sind sicher.
error-unavailable-advice = Versuchen Sie es in einer Minute noch einmal.

error-internal-title = Etwas ist schiefgegangen
error-internal-explanation = Der Fehler liegt bei uns und ist festgehalten.
error-internal-advice = Versuchen Sie es noch einmal. Bleibt es dabei, nennen Sie dem Betreiber dieses Servers die Anfrage-ID unten.

error-not-found-title = Hier ist nichts
error-not-found-explanation = Die Adresse ist vertippt, oder die Seite ist umgezogen.
error-not-found-advice = Prüfen Sie die Adresse, oder gehen Sie zurück zur App, von der Sie kommen.

error-method-title = Das geht hier nicht
error-method-explanation = Die Adresse gibt es, aber sie nimmt eine andere Art von Anfrage an.
error-method-advice = Gehen Sie zurück zur App und beginnen Sie von vorn. Bleibt es dabei, sagen Sie es dem Hersteller der App.

error-cookies-title = Ihr Browser behält keine Cookies
error-cookies-explanation = Wir brauchen ein Cookie, um zu wissen, dass Sie es noch sind. Ihr Browser hat es nicht zurückgesandt.
error-cookies-advice = Erlauben Sie Cookies für diese Seite, oder verlassen Sie den privaten Modus, und beginnen Sie in der App von vorn.

error-forbidden-origin-title = Das haben wir verhindert
error-forbidden-origin-explanation = Eine andere Website wollte hier in Ihrem Namen handeln.
error-forbidden-origin-advice = Ihrem Konto ist nichts geschehen. Schließen Sie die Website, von der Sie kommen.

## Neue Passwörter und Namen

password-too-short = Das Passwort braucht mindestens { $min } Zeichen.
password-too-long = Das Passwort ist zu lang.
passwords-differ = Die beiden Passwörter sind nicht gleich.
password-same-as-name = Das Passwort muss sich vom Benutzernamen und von der E-Mail-Adresse unterscheiden.
form-stale = Diese Seite war zu lange offen. Bitte versuchen Sie es noch einmal.
password-unchanged = Das neue Passwort ist das jetzige.
current-password-wrong = Das jetzige Passwort stimmt nicht. Bitte versuchen Sie es noch einmal.
username-needed = Bitte wählen Sie einen Benutzernamen.
email-unusable = Diese E-Mail-Adresse ist zu lang oder enthält Zeichen, die nicht verwendet werden können.
username-taken = Diesen Benutzernamen hat schon jemand. Bitte wählen Sie einen anderen.
