// clientcredentials URL SECRET_FILE [CA_FILE]
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	secret, err := os.ReadFile(os.Args[2])
	must(err)
	ctx := context.Background()
	if len(os.Args) > 3 {
		pem, err := os.ReadFile(os.Args[3])
		must(err)
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
		ctx = context.WithValue(ctx, oauth2.HTTPClient, client)
	}
	config := clientcredentials.Config{
		ClientID:     "my-client",
		ClientSecret: string(secret),
		TokenURL:     os.Args[1],
		AuthStyle:    oauth2.AuthStyleInHeader,
	}
	token, err := config.Token(ctx)
	must(err)
	fmt.Println(token.AccessToken)
}
