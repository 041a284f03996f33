// The Go modules go-oidc and x/oauth2 go through what they offer of a client, and of a resource server. The talk with
// the test is as tests/interop/conversation.rs describes it.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

type principal struct {
	ID        string `json:"id"`
	Secret    string `json:"secret"`
	Method    string `json:"method"`
	Algorithm string `json:"algorithm"`
}

type setup struct {
	Issuer                string    `json:"issuer"`
	Username              string    `json:"username"`
	Audience              string    `json:"audience"`
	RedirectURI           string    `json:"redirectUri"`
	PostLogoutRedirectURI string    `json:"postLogoutRedirectUri"`
	Client                principal `json:"client"`
	Machine               principal `json:"machine"`
}

// What the steps leave for those that follow.
type story struct {
	setup
	ctx      context.Context
	answers  *bufio.Scanner
	provider *oidc.Provider
	config   oauth2.Config
	token    *oauth2.Token
	claims   claims
	endpoint struct {
		EndSession string `json:"end_session_endpoint"`
	}
}

type claims struct {
	Subject  string `json:"sub"`
	Session  string `json:"sid"`
	ClientID string `json:"client_id"`
	AuthTime int64  `json:"auth_time"`
}

func say(kind, text string) {
	line, err := json.Marshal(map[string]string{kind: text})
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}

// Has the person's browser go there; gives the parameters that it was sent back with.
func (s *story) browse(address string) (*url.URL, error) {
	say("open", address)
	if !s.answers.Scan() {
		return nil, errors.New("the test says nothing")
	}
	var answer struct{ Address *string }
	if err := json.Unmarshal(s.answers.Bytes(), &answer); err != nil {
		return nil, err
	}
	if answer.Address == nil {
		return nil, errors.New("the browser stays at a page")
	}
	return url.Parse(*answer.Address)
}

func demand(fits bool, format string, values ...any) error {
	if fits {
		return nil
	}
	return fmt.Errorf(format, values...)
}

func (s *story) discovery() (err error) {
	if s.provider, err = oidc.NewProvider(s.ctx, s.Issuer); err != nil {
		return err
	}
	s.config = oauth2.Config{
		ClientID:     s.Client.ID,
		ClientSecret: s.Client.Secret,
		Endpoint:     s.provider.Endpoint(),
		RedirectURL:  s.RedirectURI,
		Scopes:       []string{oidc.ScopeOpenID, "profile", "email", oidc.ScopeOfflineAccess},
	}
	// Left to itself the library tries Basic first and the body next.
	switch s.Client.Method {
	case "client_secret_basic":
		s.config.Endpoint.AuthStyle = oauth2.AuthStyleInHeader
	default:
		s.config.Endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	return s.provider.Claims(&s.endpoint)
}

// Goes through a login and gives the answer's parameters, and what belongs to the request.
func (s *story) login(more ...oauth2.AuthCodeOption) (answer url.Values, verifier, nonce string, err error) {
	state := rand.Text()
	verifier, nonce = oauth2.GenerateVerifier(), rand.Text()
	options := append(more, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier),
		oauth2.SetAuthURLParam("resource", s.Audience))
	callback, err := s.browse(s.config.AuthCodeURL(state, options...))
	if err != nil {
		return nil, "", "", err
	}
	answer = callback.Query()
	err = demand(answer.Get("state") == state && answer.Get("iss") == s.Issuer, "the answer is %v", answer)
	return answer, verifier, nonce, err
}

func (s *story) verifier() *oidc.IDTokenVerifier {
	return s.provider.Verifier(&oidc.Config{ClientID: s.Client.ID, SupportedSigningAlgs: []string{s.Client.Algorithm}})
}

func (s *story) redeem(answer url.Values, verifier, nonce string) error {
	token, err := s.config.Exchange(s.ctx, answer.Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		return err
	}
	text, _ := token.Extra("id_token").(string)
	identity, err := s.verifier().Verify(s.ctx, text)
	if err != nil {
		return err
	}
	if err = demand(identity.Nonce == nonce, "the nonce is %q", identity.Nonce); err != nil {
		return err
	}
	if err = identity.VerifyAccessToken(token.AccessToken); err != nil {
		return err
	}
	s.token = token
	return identity.Claims(&s.claims)
}

func (s *story) code() error {
	answer, verifier, nonce, err := s.login()
	if err != nil {
		return err
	}
	_, err = s.config.Exchange(s.ctx, answer.Get("code"), oauth2.VerifierOption(oauth2.GenerateVerifier()))
	if err = refused(err, "invalid_grant"); err != nil {
		return err
	}
	return s.redeem(answer, verifier, nonce)
}

func refused(err error, code string) error {
	var answer *oauth2.RetrieveError
	return demand(errors.As(err, &answer) && answer.ErrorCode == code, "refused by %v instead of %s", err, code)
}

func (s *story) idToken() error {
	fits := s.claims.Subject != "" && s.claims.Session != "" && s.claims.AuthTime > 0
	if err := demand(fits, "the claims are %+v", s.claims); err != nil {
		return err
	}
	// Another client's token, and another algorithm, aren't taken.
	text, _ := s.token.Extra("id_token").(string)
	for _, config := range []oidc.Config{
		{ClientID: "another", SupportedSigningAlgs: []string{s.Client.Algorithm}},
		{ClientID: s.Client.ID, SupportedSigningAlgs: []string{oidc.PS512}},
	} {
		if _, err := s.provider.Verifier(&config).Verify(s.ctx, text); err == nil {
			return fmt.Errorf("taken with %+v", config)
		}
	}
	return nil
}

func (s *story) userinfo() error {
	person, err := s.provider.UserInfo(s.ctx, s.config.TokenSource(s.ctx, s.token))
	if err != nil {
		return err
	}
	fits := person.Subject == s.claims.Subject && person.Email == s.Username+"@example.org" && person.EmailVerified
	return demand(fits, "the person is %+v", person)
}

// As a resource server: go-oidc doesn't look at typ, so this checks the rest of RFC 9068 §4.
func (s *story) checkAccess(text, subject, client string) error {
	config := oidc.Config{ClientID: s.Audience, SupportedSigningAlgs: []string{oidc.ES256}}
	access, err := s.provider.Verifier(&config).Verify(s.ctx, text)
	if err != nil {
		return err
	}
	var found claims
	if err := access.Claims(&found); err != nil {
		return err
	}
	return demand(found.Subject == subject && found.ClientID == client, "the claims are %+v", found)
}

func (s *story) accessToken() error {
	return s.checkAccess(s.token.AccessToken, s.claims.Subject, s.Client.ID)
}

// The token source refreshes a token that has expired, and no other.
func (s *story) refresh() error {
	same, err := s.config.TokenSource(s.ctx, s.token).Token()
	if err != nil || same.AccessToken != s.token.AccessToken {
		return fmt.Errorf("a good token is renewed, or %v", err)
	}
	old := *s.token
	old.Expiry = time.Now().Add(-time.Minute)
	fresh, err := s.config.TokenSource(s.ctx, &old).Token()
	if err != nil {
		return err
	}
	text, _ := fresh.Extra("id_token").(string)
	identity, err := s.verifier().Verify(s.ctx, text)
	if err != nil {
		return err
	}
	fits := fresh.AccessToken != old.AccessToken && fresh.RefreshToken != "" && identity.Subject == s.claims.Subject
	s.token = fresh
	return demand(fits, "the new token is %+v", fresh)
}

func (s *story) logout() error {
	answer, verifier, nonce, err := s.login(oauth2.SetAuthURLParam("prompt", "none"))
	if err != nil {
		return err
	}
	if err = s.redeem(answer, verifier, nonce); err != nil {
		return err
	}
	hint, _ := s.token.Extra("id_token").(string)
	state := rand.Text()
	query := url.Values{
		"id_token_hint":            {hint},
		"post_logout_redirect_uri": {s.PostLogoutRedirectURI},
		"state":                    {state},
	}
	back, err := s.browse(s.endpoint.EndSession + "?" + query.Encode())
	if err != nil {
		return err
	}
	fits := strings.HasPrefix(back.String(), s.PostLogoutRedirectURI+"?") && back.Query().Get("state") == state
	return demand(fits, "logout leads to %s", back)
}

func (s *story) afterLogout() error {
	answer, _, _, err := s.login(oauth2.SetAuthURLParam("prompt", "none"))
	if err != nil {
		return err
	}
	return demand(answer.Get("error") == "login_required", "a login after logout gives %v", answer)
}

func (s *story) clientCredentials() error {
	config := clientcredentials.Config{
		ClientID:       s.Machine.ID,
		ClientSecret:   s.Machine.Secret,
		TokenURL:       s.config.Endpoint.TokenURL,
		Scopes:         []string{"api"},
		EndpointParams: url.Values{"resource": {s.Audience}},
	}
	token, err := config.Token(s.ctx)
	if err != nil {
		return err
	}
	if err := s.checkAccess(token.AccessToken, s.Machine.ID, s.Machine.ID); err != nil {
		return err
	}
	config.EndpointParams.Set("resource", "https://unknown.example")
	_, err = config.Token(s.ctx)
	return refused(err, "invalid_target")
}

func main() {
	s := story{ctx: context.Background(), answers: bufio.NewScanner(os.Stdin)}
	if err := json.Unmarshal([]byte(os.Getenv("KEYWARD_INTEROP")), &s.setup); err != nil {
		say("failure", err.Error())
		os.Exit(1)
	}
	for _, step := range []struct {
		name string
		pass func() error
	}{
		{"discovery", s.discovery},
		{"code", s.code},
		{"id_token", s.idToken},
		{"userinfo", s.userinfo},
		{"access_token", s.accessToken},
		{"refresh", s.refresh},
		{"logout", s.logout},
		{"after_logout", s.afterLogout},
		{"client_credentials", s.clientCredentials},
	} {
		if err := step.pass(); err != nil {
			say("failure", step.name+": "+err.Error())
			os.Exit(1)
		}
		say("step", step.name)
	}
}
