// Package floors holds no code: its test holds the walls of the house. The floors are proto, then fault
// and schedule, then account and vault, then the rooms, then the services, then mailferry, then e2e. A
// package imports lower floors only; rooms never import each other, services never import each other;
// one client library has one owner; what is made for tests stays out of the binary.
package floors
