// Go's side of benches/cache.rs: one round, printed as lines of a name, a number of goroutines and the nanoseconds of a call.
package main

import (
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/oauth2"
)

const calls = 400_000

type source struct{}

func (source) Token() (*oauth2.Token, error) {
	return &oauth2.Token{AccessToken: "abc", TokenType: "Bearer", Expiry: time.Now().Add(time.Hour)}, nil
}

// All threads together make so many calls; the time is that until the last one is done, by the number of calls.
func measure(name string, threads int, call func()) {
	runtime.GOMAXPROCS(threads)
	var ready, done sync.WaitGroup
	start := make(chan struct{})
	for i := 0; i < threads; i++ {
		ready.Add(1)
		done.Add(1)
		go func() {
			defer done.Done()
			ready.Done()
			<-start
			for n := 0; n < calls/threads; n++ {
				call()
			}
		}()
	}
	ready.Wait()
	begin := time.Now()
	close(start)
	done.Wait()
	fmt.Println(name, threads, float64(time.Since(begin).Nanoseconds())/calls)
}

var moment time.Time

func main() {
	measure("clock", 1, func() { moment = time.Now() })
	tokens := oauth2.ReuseTokenSource(nil, source{})
	for _, threads := range []int{1, 2, 4, 8} {
		measure("hit", threads, func() {
			if token, err := tokens.Token(); err != nil || token.AccessToken != "abc" {
				panic("this is another token")
			}
		})
	}
}
