#!/usr/bin/env bash
# rotate-key.sh replaces the key of a service account, which Secret Manager keeps for the gateway.
#
#   rotate-key.sh ACCOUNT SECRET [--project PROJECT] [--older-than 30d] [--wait 12h] [--now]
#
# ACCOUNT is its email, SECRET the name of a secret of PROJECT (gcloud's, by default). Run it daily, or by hand, as often
# as you like: each run does what is due, and says when the next thing is.
#
#   1. Where the key is older than --older-than, or with --now, it makes a key and adds it to the secret as a version.
#   2. Where that version is older than --wait, it deletes all other keys of the account, which therefore must be
#      nobody else's.
#
# It needs roles/iam.serviceAccountKeyAdmin on the account, and roles/secretmanager.secretVersionAdder and
# roles/secretmanager.viewer on the secret. None of them reads a value, and none disables a version: the former ones
# stay, and hold keys that open nothing.
#
# The key is in the memory of this shell and of gcloud, and in the pipe between them. It never is in a file, an argument,
# a log or on the terminal.
#
# Why --wait is 12 hours. An instance reads the secret again at the age of secret_manager.refresh (5 minutes), and a token
# that the old key made just before lives for an hour (to delete a key revokes no token:
# cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts.keys/delete). But Secret Manager's `latest` and
# its lists are eventually consistent, typically within minutes, at worst in a few hours
# (cloud.google.com/secret-manager/docs/reference/consistency); and a key that is deleted too early is an outage.
#
# What a run knows, it knows by times, for nothing else ties a version to its key: the key of a version is the one that
# was made in the ten minutes before it, if that is one key, and if these minutes saw no other version. Otherwise
# (two runs at once, a value added by hand) a new key is made, and nothing is deleted until its time. A run that was
# killed between the two steps leaves a key in no version; later runs delete it like any other.
#
# The exit status is 0 where nothing is left that is due, 2 for bad arguments, else 1.
set -euo pipefail
set +xv # whatever SHELLOPTS says: a trace would print the key
umask 077
ulimit -c 0

readonly settle=600 # seconds in which a run is over, and IAM and Secret Manager show what it did
readonly skew=60    # by which their clocks may differ, at the very most

say() { printf '%s\n' "$*"; }

stop() {
  printf 'rotate-key: %s\n' "$*" >&2
  exit 1
}

misuse() {
  printf 'rotate-key: %s\n' "$*" >&2
  exit 2
}

# seconds OPTION DURATION
seconds() {
  [[ $2 =~ ^([1-9][0-9]{0,3})([mhd])$ ]] || misuse "$1 is a number of minutes, hours or days such as 90m, 12h or 30d, not \"$2\""
  case ${BASH_REMATCH[2]} in
    m) echo $((BASH_REMATCH[1] * 60)) ;;
    h) echo $((BASH_REMATCH[1] * 3600)) ;;
    d) echo $((BASH_REMATCH[1] * 86400)) ;;
  esac
}

# span SECONDS, for people
span() {
  if (($1 >= 2 * 86400)); then
    echo "$((($1 + 43200) / 86400)) days"
  elif (($1 >= 2 * 3600)); then
    echo "$((($1 + 1800) / 3600)) hours"
  else
    echo "$((($1 + 59) / 60)) minutes"
  fi
}

account='' secret='' now='' older='30d' wait='12h'
while (($#)); do
  case $1 in
    -h | --help)
      sed -n '2,/^set /s/^# \{0,1\}//p' "$0"
      exit
      ;;
    --now) now=yes ;;
    --project | --older-than | --wait)
      (($# > 1)) || misuse "$1 needs a value"
      case $1 in
        --project) export CLOUDSDK_CORE_PROJECT=$2 ;;
        --older-than) older=$2 ;;
        --wait) wait=$2 ;;
      esac
      shift
      ;;
    -*) misuse "there is no option $1; --help says which there are" ;;
    *)
      if [[ -z $account ]]; then
        account=$1
      elif [[ -z $secret ]]; then
        secret=$1
      else
        misuse "\"$1\" is one argument too many: there are an account and a secret"
      fi
      ;;
  esac
  shift
done
[[ -n $account && -n $secret ]] || misuse "name the account and the secret: rotate-key.sh gateway-upstream@PROJECT.iam.gserviceaccount.com SECRET"
[[ $account =~ ^[a-z0-9-]+@[a-z0-9.-]+\.iam\.gserviceaccount\.com$ ]] || misuse "\"$account\" is not the email of a service account, NAME@PROJECT.iam.gserviceaccount.com"
[[ $secret =~ ^[A-Za-z0-9_-]{1,255}$ ]] || misuse "\"$secret\" is not the name of a secret, which has letters, digits, - and _; its project is said by --project"
older=$(seconds --older-than "$older")
wait=$(seconds --wait "$wait")
((wait > settle)) || misuse "--wait must be more than $(span $settle)"
((older > wait)) || misuse "--older-than must be more than --wait ($(span "$wait")), or keys would be made faster than they are deleted"
command -v gcloud >/dev/null || stop "gcloud is not on the PATH; Cloud Shell has it, and cloud.google.com/sdk/docs/install says how to get it"

# Neither gcloud's log files nor its terminal shall have what it sends and gets.
export CLOUDSDK_CORE_DISABLE_FILE_LOGGING=1 CLOUDSDK_CORE_LOG_HTTP=0 CLOUDSDK_CORE_VERBOSITY=warning CLOUDSDK_CORE_DISABLE_PROMPTS=1
keys() { gcloud iam service-accounts keys "$@" --iam-account="$account"; }

list=$(gcloud secrets versions list "$secret" --format='value(name.basename(),state,createTime.date(format="%s"))' | sort -rn) ||
  stop "the versions of $secret can't be listed, for the reason above; it takes roles/secretmanager.viewer"
version=0 state='' added=0 before=0 # the newest version, which is `latest`; when it was added, and when the one before
while IFS=$'\t' read -r number now_state time; do
  if [[ -z $number ]]; then
    continue
  elif ((version == 0)); then
    version=$number state=$now_state added=${time%%.*}
  else
    before=${time%%.*}
    break
  fi
done <<<"$list"

list=$(keys list --managed-by=user --format='value(name.basename(),validAfterTime.date(format="%s"))') ||
  stop "the keys of $account can't be listed, for the reason above; it takes roles/iam.serviceAccountKeyAdmin"
clock=$(date +%s)
((clock + skew >= added)) || stop "version $version of $secret is of the future; put this machine's clock right"

key='' made=0 found=0 pending=0 # the version's key, and when it was made; how many it may be; when one was made that no version has
ids=() times=()
while IFS=$'\t' read -r id time; do
  [[ -n $id ]] || continue
  time=${time%%.*}
  ids+=("$id") times+=("$time")
  if ((time > added + skew)); then
    ((time < pending)) || pending=$time
  elif ((time >= added - settle)); then
    key=$id made=$time found=$((found + 1))
  fi
done <<<"$list"
if [[ ${state,,} != enabled ]] || ((found != 1)) || ((before >= added - settle)); then
  key=''
fi

if ((clock - pending < settle)); then
  stop "a key of $account was made a moment ago and is in no version of $secret: another run is at work, or was stopped; run this again in $(span $((pending + settle - clock)))"
fi
if ((clock - added < settle)); then
  say "version $version of $secret was added a moment ago; nothing more is done for $(span $((added + settle - clock)))"
  exit
fi

if [[ -n $key ]]; then
  say "version $version of $secret has key $key, made $(span $((clock - made))) ago"
  for i in "${!ids[@]}"; do
    [[ ${ids[i]} != "$key" ]] || continue
    due=$((times[i] > added ? times[i] : added))
    if ((clock - due < wait)); then
      say "key ${ids[i]} is to be deleted in $(span $((due + wait - clock)))"
      continue
    fi
    keys delete "${ids[i]}" || stop "key ${ids[i]} can't be deleted, for the reason above; it takes roles/iam.serviceAccountKeyAdmin"
  done
fi

if [[ -z $now && -n $key ]] && ((clock - made < older)); then
  say "the next key is to be made in $(span $((made + older - clock)))"
  exit
fi
if [[ -z $key && $version != 0 ]]; then
  say "version $version of $secret is disabled, or has a key that can't be told from others"
fi

# The next two steps could be one pipe. But then the end of a pipe whose beginning failed would add half a key as `latest`.
value=$(keys create -) || stop "no key of $account can be had, for the reason above; if one was made all the same, a later run deletes it"
[[ $value =~ \"private_key_id\":\ *\"([0-9a-f]+)\" ]] || stop "gcloud printed something else than a key; if one was made all the same, a later run deletes it"
key=${BASH_REMATCH[1]}
if message=$(printf '%s\n' "$value" | gcloud secrets versions add "$secret" --data-file=- --format=none 2>&1); then
  unset value
  say "$message"
  say "it has key $key; instances use it from their next reading on, and other keys are deleted in $(span "$wait")"
  exit
fi
unset value
printf '%s\n' "$message" >&2
# What was refused did not happen. Of all else (a time-out, a 500, or a 429 to gcloud's second try) one can't tell: if the
# version is there after all, its key must stay.
if [[ $message =~ \(gcloud\.secrets\.versions\.add\)\ (PERMISSION_DENIED|NOT_FOUND|INVALID_ARGUMENT|FAILED_PRECONDITION): ]]; then
  keys delete "$key" || stop "the key can't be added to $secret, for the first reason above, and $key not be deleted, for the second; a later run does"
  stop "the key can't be added to $secret, for the reason above (it takes roles/secretmanager.secretVersionAdder), and is deleted again"
fi
stop "it isn't known whether $secret has key $key, for the reason above; run this again in $(span $settle), which finds out"
