package example;

import static org.springframework.security.config.Customizer.withDefaults;

import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.Map;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;
import org.springframework.core.annotation.Order;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.core.GrantedAuthority;
import org.springframework.security.core.annotation.AuthenticationPrincipal;
import org.springframework.security.oauth2.client.OAuth2AuthorizedClient;
import org.springframework.security.oauth2.client.annotation.RegisteredOAuth2AuthorizedClient;
import org.springframework.security.oauth2.client.authentication.OAuth2AuthenticationToken;
import org.springframework.security.oauth2.client.oidc.authentication.OidcIdTokenDecoderFactory;
import org.springframework.security.oauth2.client.oidc.web.logout.OidcClientInitiatedLogoutSuccessHandler;
import org.springframework.security.oauth2.client.registration.ClientRegistration;
import org.springframework.security.oauth2.client.registration.ClientRegistrationRepository;
import org.springframework.security.oauth2.core.oidc.user.OidcUser;
import org.springframework.security.oauth2.jose.jws.SignatureAlgorithm;
import org.springframework.security.oauth2.jwt.JwtAudienceValidator;
import org.springframework.security.oauth2.jwt.JwtDecoder;
import org.springframework.security.oauth2.jwt.JwtDecoderFactory;
import org.springframework.security.oauth2.jwt.JwtIssuerValidator;
import org.springframework.security.oauth2.jwt.JwtTypeValidator;
import org.springframework.security.oauth2.jwt.JwtValidators;
import org.springframework.security.oauth2.jwt.NimbusJwtDecoder;
import org.springframework.security.oauth2.server.resource.authentication.JwtAuthenticationToken;
import org.springframework.security.web.SecurityFilterChain;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;
import org.springframework.web.client.RestClient;

/** A client with a login, whose pages call an API; the API, a resource server, is below /api of the same program. */
@SpringBootApplication
@RestController
public class Program {
    @Value("${program.issuer}")
    String issuer;

    @Value("${program.audience}")
    String audience;

    @Value("${server.port}")
    int port;

    public static void main(String[] arguments) throws Exception {
        trust(Path.of(System.getenv("SSL_CERT_FILE")));
        SpringApplication.run(Program.class, arguments);
    }

    /** Makes the authorities in this PEM file, and no others, those that this program trusts. */
    static void trust(Path file) throws Exception {
        KeyStore authorities = KeyStore.getInstance(KeyStore.getDefaultType());
        authorities.load(null, null);
        try (InputStream input = Files.newInputStream(file)) {
            for (var certificate : CertificateFactory.getInstance("X.509").generateCertificates(input)) {
                authorities.setCertificateEntry("authority-" + authorities.size(), certificate);
            }
        }
        var managers = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        managers.init(authorities);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, managers.getTrustManagers(), null);
        SSLContext.setDefault(context);
    }

    @Bean
    @Order(1)
    SecurityFilterChain api(HttpSecurity http) throws Exception {
        return http.securityMatcher("/api/**")
                .authorizeHttpRequests(requests -> requests
                        .requestMatchers("/api/profile").hasAuthority("SCOPE_profile")
                        .anyRequest().authenticated())
                .oauth2ResourceServer(server -> server.jwt(withDefaults()))
                .build();
    }

    /** Access tokens are of type at+jwt (RFC 9068 §4), which the decoder that Spring Boot makes by itself refuses. */
    @Bean
    JwtDecoder accessTokens() {
        NimbusJwtDecoder decoder = NimbusJwtDecoder.withIssuerLocation(issuer).build();
        decoder.setJwtValidator(JwtValidators.createDefaultWithValidators(
                new JwtTypeValidator("at+jwt"), new JwtIssuerValidator(issuer), new JwtAudienceValidator(audience)));
        return decoder;
    }

    @Bean
    SecurityFilterChain pages(HttpSecurity http, ClientRegistrationRepository clients) throws Exception {
        var logout = new OidcClientInitiatedLogoutSuccessHandler(clients);
        logout.setPostLogoutRedirectUri("{baseUrl}/bye");
        return http.authorizeHttpRequests(requests -> requests
                        .requestMatchers("/bye").permitAll()
                        .anyRequest().authenticated())
                .oauth2Login(login -> login.defaultSuccessUrl("/me", true))
                .logout(end -> end.logoutSuccessHandler(logout))
                .build();
    }

    /** ID tokens are expected by RS256 unless the program says otherwise; here the client's name says which. */
    @Bean
    JwtDecoderFactory<ClientRegistration> identityTokens() {
        var factory = new OidcIdTokenDecoderFactory();
        factory.setJwsAlgorithmResolver(client ->
                client.getRegistrationId().endsWith("es256") ? SignatureAlgorithm.ES256 : SignatureAlgorithm.RS256);
        return factory;
    }

    @GetMapping("/me")
    Map<String, Object> me(@AuthenticationPrincipal OidcUser user, OAuth2AuthenticationToken login) {
        String header = user.getIdToken().getTokenValue().split("\\.")[0];
        return Map.of(
                "registration", login.getAuthorizedClientRegistrationId(),
                "alg", algorithm(header),
                "email", user.getUserInfo().getEmail(),
                "id_token", user.getIdToken().getClaims());
    }

    static String algorithm(String header) {
        String text = new String(java.util.Base64.getUrlDecoder().decode(header));
        return text.contains("\"ES256\"") ? "ES256" : text.contains("\"RS256\"") ? "RS256" : text;
    }

    /** The token of this login, refreshed where it has expired. */
    @GetMapping("/call")
    Map<String, Object> call(@RegisteredOAuth2AuthorizedClient OAuth2AuthorizedClient client) {
        String token = client.getAccessToken().getTokenValue();
        Object answer = RestClient.create("http://127.0.0.1:" + port).get().uri("/api/profile")
                .headers(headers -> headers.setBearerAuth(token))
                .retrieve()
                .body(Object.class);
        return Map.of("access_token", token, "api", answer);
    }

    @GetMapping({"/api/me", "/api/profile"})
    Map<String, Object> api(JwtAuthenticationToken caller) {
        return Map.of(
                "sub", caller.getToken().getSubject(),
                "client_id", caller.getToken().getClaimAsString("client_id"),
                "authorities", caller.getAuthorities().stream().map(GrantedAuthority::getAuthority).toList());
    }

    @GetMapping("/bye")
    Map<String, Object> bye() {
        return Map.of("bye", true);
    }
}
