# Every word of the pages, in English. Each file in locales/ has the same messages with the same variables.
# One message a line; a variable is written { $name }.

brand = Keyward
signed-in-as = Signed in as
title-problem = Problem:
problem-title = Please check this
return-to = Back to { $client }

## Fields

field-username = Username
field-password = Password
field-password-again = Password, once more
field-current-password = Current password
field-new-password = New password
field-email = E-mail
field-optional = (optional)

## Sign-in

login-title = Sign in
login-lead = to continue to
login-submit = Sign in
login-cancel = Cancel
login-wrong-credentials = Username or password isn’t right. Please try again.
login-stale-form = This page was open for too long. Please sign in once more.
login-busy = Many people are signing in right now. Please try again in a few seconds.
login-reauthenticate = Please confirm that it’s you: sign in again to go on.

## Consent

consent-title = Allow access?
consent-lead = An app would like to use your account.
consent-app = App
consent-account = Your account
consent-website = Website of the app
consent-loopback = This program runs on your own device, and we can’t check its name. Allow it only if you have just started it yourself.
consent-grants = The app will be able to
consent-next = Whatever you choose, you then return to { $host }. You can take access away at any time on your account page.
consent-allow = Allow
consent-deny = Deny
consent-policy = Privacy policy
consent-terms = Terms of service

## Scopes

scope-openid-title = Recognise you
scope-openid-detail = It learns an identifier that stands for your account.
scope-profile-title = See your profile
scope-profile-detail = Such as your name, your picture and your language.
scope-email-title = See your e-mail address
scope-email-detail = And whether it has been verified.
scope-phone-title = See your phone number
scope-phone-detail = And whether it has been verified.
scope-address-title = See your postal address
scope-address-detail = The address that is kept in your account.
scope-offline_access-title = Keep access while you’re away
scope-offline_access-detail = Until you take it away on your account page.
scope-roles-title = See your roles
scope-roles-detail = What you are in charge of here.
scope-groups-title = See your groups
scope-groups-detail = The teams that you belong to here.
scope-permissions-title = See your permissions
scope-permissions-detail = What you are allowed to do here.
scope-other-detail = A permission that the app’s makers have defined.
claim-name = See your name
claim-given_name = See your first name
claim-family_name = See your last name
claim-middle_name = See your middle name
claim-nickname = See your nickname
claim-preferred_username = See your user name
claim-profile = See the address of your profile page
claim-picture = See your picture
claim-website = See your website
claim-gender = See your gender
claim-birthdate = See your date of birth
claim-zoneinfo = See your time zone
claim-locale = See your language and region
claim-updated_at = See when your details last changed
claim-email = See your e-mail address
claim-email_verified = See whether your e-mail address has been verified
claim-phone_number = See your phone number
claim-phone_number_verified = See whether your phone number has been verified
claim-address = See your postal address
claim-roles = See your roles
claim-groups = See your groups
claim-permissions = See your permissions

## Choice of account

select-title = Choose an account
select-lead = You’re on your way to { $client }.
select-other = Use another account

## First account

setup-title = Welcome to Keyward
setup-lead = Create the first account. It manages this server.
setup-password-advice = Several words in a row are strong and easy to remember.
setup-submit = Create account
setup-expired-title = This link has expired
setup-expired-text = Whoever runs this server can make a new link on its command line.
setup-done-title = The server is set up
setup-done-text = The first account exists, so this link has done its work.

## A new password

change-password-title = Change your password
change-password-lead = All other devices and apps will be signed out.
change-password-submit = Change password
change-password-cancel = Keep the old one

## Your own page

home-title = Your account
home-news = News
home-email = E-mail
home-roles = Roles
home-groups = Groups
home-session = Signed in since
home-apps = Connected apps
home-no-apps = No app has access to your account.
home-app-since = Has access since { $since }
home-app-disconnected = The app no longer has access.
home-change-password = Change password
home-password-changed = Your password is new. You’re signed out everywhere else.
home-disconnect = Disconnect
home-disconnect-app = Disconnect { $client }
home-sign-out = Sign out

## Sign-out

end-title = Sign out?
end-lead = You’ll be signed out here and in the apps that listen for it.
end-lead-client = { $client } asks to sign you out, here and in the apps that listen for it.
end-sign-out = Sign out
end-stay = Stay signed in
signed-out-title = You’re signed out
signed-out-text = On a device that others use too, close the browser as well.
signed-out-again = Sign in again

## Answer by form

form-post-title = One moment
form-post-text = You’re on your way back to the app. If nothing happens, press Continue.
form-post-continue = Continue

## Errors

error-what-next = What you can do
error-code = Error code
error-request-id = Request ID

error-unknown-client-title = We don’t know this app
error-unknown-client-explanation = The app that sent you here isn’t registered with this server, or no longer is.
error-unknown-client-advice = Go back to the app and try again. If this stays so, tell the app’s makers: the client ID is wrong.

error-redirect-uri-title = We can’t send you back to this app
error-redirect-uri-explanation = The app asked us to send you to an address that isn’t registered for it. For your safety we stop here.
error-redirect-uri-advice = Tell the app’s makers: the redirect URI must equal a registered one, character by character.

error-bad-request-title = This link doesn’t work
error-bad-request-explanation = The request that brought you here is incomplete or wrong.
error-bad-request-advice = Go back to the app and start again. If this stays so, tell the app’s makers.

error-stale-form-title = This page is too old
error-stale-form-explanation = It was open for too long, or it was opened in another browser.
error-stale-form-advice = Go back to the app and start again.

error-busy-title = Too much at once
error-busy-explanation = The server gets more requests than it can answer right now.
error-busy-advice = Wait a moment and reload this page.

error-unavailable-title = We’re away for a moment
error-unavailable-explanation = A part of the server can’t be reached right now. Your data is safe.
error-unavailable-advice = Try again in a minute.

error-internal-title = Something went wrong
error-internal-explanation = The mistake is ours, and it has been recorded.
error-internal-advice = Try again. If this stays so, send the request ID below to whoever runs this server.

error-not-found-title = There’s nothing here
error-not-found-explanation = The address is mistyped, or the page has moved.
error-not-found-advice = Check the address, or go back to the app that you came from.

error-method-title = That isn’t possible here
error-method-explanation = The address exists, but it takes another kind of request.
error-method-advice = Go back to the app and start again. If this stays so, tell the app’s makers.

error-cookies-title = Your browser keeps no cookies
error-cookies-explanation = We need one cookie to know that it’s still you. Your browser didn’t send it back.
error-cookies-advice = Allow cookies for this site, or leave private browsing, and start again from the app.

error-forbidden-origin-title = We’ve stopped this
error-forbidden-origin-explanation = Another website tried to act here in your name.
error-forbidden-origin-advice = Nothing has happened to your account. Close the website that you came from.

## New passwords and names

password-too-short = The password needs at least { $min } characters.
password-too-long = The password is too long.
passwords-differ = The two passwords aren’t the same.
password-same-as-name = The password must differ from the username and the e-mail address.
form-stale = This page was open for too long. Please try again.
password-unchanged = The new password is the same as the current one.
current-password-wrong = The current password isn’t right. Please try again.
username-needed = Please choose a username.
email-unusable = This e-mail address is too long or has characters that can’t be used.
username-taken = Somebody has this username already. Please choose another.
