// Package directory holds what administrators filled in: accounts, domains, settings, and per account
// the record that it has collected. It is the truth that everything else is rebuilt from, kept in
// JetStream key-value buckets on disk.
//
// Every write of an account, a domain or the settings is compare-and-set on the revision; of several
// concurrent creations of one name exactly one wins. A removed account leaves a tombstone that bears
// its uid: gone is a tombstone, while a record that was never there is an error to whoever knew it
// ([Directory.AccountAt]). Revisions grow over the whole life of a bucket, and a bucket that is made
// anew starts above those of the one before. Changes are followed by a durable consumer that replicas
// share ([Directory.Watch]).
//
// Operations that may be repeated are, until their context ends; without a deadline, for 30 s.
package directory
