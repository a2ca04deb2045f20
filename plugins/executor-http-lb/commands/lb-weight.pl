#!/usr/bin/perl
# Sets the weight of a server through HAProxy's runtime socket: the command lb-weight of executor-http-lb.
#
#   lb-weight.pl SOCKET BACKEND/SERVER PERCENT%
#
# The configuration gives SOCKET, the executor the rest. HAProxy answers what it took with an empty line and anything else
# with words; those are printed, and the exit code is 1. The page shows the weight afterwards.
#
# Needs no more than Debian's perl-base. HAProxy lets only a socket of level admin set a weight:
#   stats socket /run/haproxy/backstay.sock mode 600 level admin
use strict;
use warnings;
use IO::Socket::UNIX;

my $usage = "usage: lb-weight.pl SOCKET BACKEND/SERVER PERCENT%\n";
@ARGV == 3 or do { print $usage; exit 2 };
my ($socket, $server, $weight) = @ARGV;
# A semicolon or a line would be a second command.
$server =~ m{\A[A-Za-z0-9._:-]{1,64}/[A-Za-z0-9._:-]{1,64}\z} or do { print $usage; exit 2 };
$weight =~ m{\A[0-9]{1,3}%\z} or do { print $usage; exit 2 };
my $haproxy = IO::Socket::UNIX->new(Peer => $socket, Timeout => 5)
    or do { print "cannot connect to $socket: $!\n"; exit 1 };
print $haproxy "set server $server weight $weight\n";
$haproxy->flush;
# It answers and closes. More than this is none of its answers.
read $haproxy, my $said, 4096;
$said = '' unless defined $said;
$said =~ s/\s+\z//;
if ($said ne '') { print "$said\n"; exit 1 }
