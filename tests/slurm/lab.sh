#!/usr/bin/env bash
# A real Slurm (munged, slurmctld, N x slurmd, optionally mariadbd+slurmdbd) on one
# machine, without systemd, cgroups, or any file outside $LAB. Debian 12 packages.
#   lab.sh install | start | stop | status | env | kill DAEMON | down DAEMON | up DAEMON
# After start:  eval "$(lab.sh env)"      (sets SLURM_CONF; clients need nothing else)
# DAEMON: slurmctld, slurmdbd or slurmd.n1 …; `kill` is kill -9, `down` lets it save its state,
# `up` starts it again.
# Labs side by side need a LAB and a PORT each; on tmpfs one starts in about three seconds.
set -Eeuo pipefail
trap 'echo "lab: line $LINENO: $BASH_COMMAND" >&2; tail -qn 3 "$LAB"/log/*.log >&2 || true' ERR
LAB=${LAB:-${TMPDIR:-/tmp}/slurmlab}
NODES=${NODES:-3}            # slurmd count
CPUS=${CPUS:-4}              # pretended CPUs a node (config_overrides)
MEM=${MEM:-4000}             # pretended MB a node
GPUS=${GPUS:-2}              # fake GPUs a node (files $LAB/dev/gpuK), 0 = none
DBD=${DBD:-1}                # 1 = mariadbd + slurmdbd, so that sacct works
PORT=${PORT:-17800}          # ctld=PORT dbd=PORT+1 mariadb=PORT+2 slurmd=PORT+11..
MAXARRAY=${MAXARRAY:-1001}   # Slurm's own default
REQUEUE_SECONDS=${REQUEUE_SECONDS:-5}  # a requeued job waits so long; a real cluster takes 120
HOST=$(hostname -s)
export SLURM_CONF=$LAB/etc/slurm.conf

die() { echo "lab: $*" >&2; exit 1; }
gone() { # pid: no such process, or a zombie that PID 1 has not reaped yet
  local st; st=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null) || return 0
  [ -z "$st" ] || [ "$st" = Z ]
}
alive() { [ -s "$1" ] && ! gone "$(cat "$1")"; }
wait_for() { # seconds, what, command...
  local end=$((SECONDS + $1)) s=$1 what=$2; shift 2
  while ((SECONDS < end)); do timeout 5 "$@" >/dev/null 2>&1 && return 0; sleep 0.05; done
  die "$what not up after ${s}s; see $LAB/log"
}
stop_pid() { # pidfiles...: TERM to all, up to 15 s for all, then KILL
  # Pids are read first: slurmd and slurmctld remove their pid file well before they end.
  local f p pids=() end=$((SECONDS + 15))
  for f; do p=$(cat "$f" 2>/dev/null) && pids+=("$p") || true; done
  for p in "${pids[@]}"; do kill -TERM "$p" 2>/dev/null || true; done
  for p in "${pids[@]}"; do
    while ! gone "$p"; do
      ((SECONDS < end)) || { kill -KILL "$p" 2>/dev/null || true; break; }
      sleep 0.05
    done
  done
  rm -f "$@"
}

install() {
  local extra=()
  [ "$DBD" = 1 ] && extra=(slurmdbd slurm-wlm-mysql-plugin mariadb-server)
  apt-get update -q
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
    munge slurmctld slurmd slurm-client slurm-wlm-basic-plugins "${extra[@]}"
}

configure() {
  mkdir -p "$LAB"/{etc,run,log,state,dev,spool,db,tmp}
  chmod 755 "$LAB" "$LAB"/{etc,run,log,state,dev,spool}
  if [ ! -s "$LAB/etc/munge.key" ]; then
    (umask 077; head -c 1024 /dev/urandom >"$LAB/etc/munge.key")
  fi
  chmod 400 "$LAB/etc/munge.key"
  local g gres=""
  if [ "$GPUS" -gt 0 ]; then
    for ((g = 0; g < GPUS; g++)); do [ -e "$LAB/dev/gpu$g" ] || mknod "$LAB/dev/gpu$g" c 1 3; done
    gres="Gres=gpu:$GPUS"
  fi
  {
    cat <<C
ClusterName=lab
SlurmctldHost=$HOST(127.0.0.1)
SlurmctldPort=$PORT
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$LAB/run/munge.sock,cred_expire=${REQUEUE_SECONDS}
StateSaveLocation=$LAB/state
SlurmdSpoolDir=$LAB/spool/%n
SlurmctldPidFile=$LAB/run/slurmctld.pid
SlurmdPidFile=$LAB/run/slurmd.%n.pid
SlurmctldLogFile=$LAB/log/slurmctld.log
SlurmdLogFile=$LAB/log/slurmd.%n.log
SlurmctldDebug=info
SlurmdDebug=info
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=200
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
SlurmdParameters=config_overrides
ReturnToService=2
MaxArraySize=$MAXARRAY
MaxJobCount=20000
JobRequeue=1
KillWait=5
MinJobAge=300
InactiveLimit=0
SlurmctldTimeout=30
SlurmdTimeout=10
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
PropagateResourceLimits=NONE
C
    if [ "$GPUS" -gt 0 ]; then echo "GresTypes=gpu"; fi
    if [ "$DBD" = 1 ]; then cat <<C
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((PORT + 1))
AccountingStoragePass=$LAB/run/munge.sock
AccountingStorageTRES=gres/gpu
C
    else cat <<C
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$LAB/log/jobcomp.log
C
    fi
    local i
    for ((i = 1; i <= NODES; i++)); do
      echo "NodeName=n$i NodeHostname=$HOST NodeAddr=127.0.0.1 Port=$((PORT + 10 + i)) CPUs=$CPUS RealMemory=$MEM $gres State=UNKNOWN"
    done
    echo "PartitionName=main Nodes=ALL Default=YES MaxTime=1-00:00:00 DefaultTime=5 PriorityTier=10 State=UP"
    echo "PartitionName=low  Nodes=ALL MaxTime=1-00:00:00 DefaultTime=5 PriorityTier=1 PreemptMode=REQUEUE GraceTime=10 State=UP"
    echo "PreemptType=preempt/partition_prio"
    echo "PreemptMode=REQUEUE"
  } >"$LAB/etc/slurm.conf"
  if [ "$GPUS" -gt 0 ]; then echo "Name=gpu File=$LAB/dev/gpu[0-$((GPUS - 1))]" >"$LAB/etc/gres.conf"; fi
  if [ "$DBD" = 1 ]; then
    cat >"$LAB/etc/slurmdbd.conf" <<C
AuthType=auth/munge
AuthInfo=socket=$LAB/run/munge.sock
DbdHost=$HOST
DbdAddr=127.0.0.1
DbdPort=$((PORT + 1))
SlurmUser=$(id -un)
PidFile=$LAB/run/slurmdbd.pid
LogFile=$LAB/log/slurmdbd.log
DebugLevel=info
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$((PORT + 2))
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct
C
    chmod 600 "$LAB/etc/slurmdbd.conf"
  fi
}

start_db() {
  local -x TMPDIR=$LAB/tmp  # a mariadbd that starts removes the temporary tables of all others there
  if [ ! -d "$LAB/db/mysql" ]; then
    mariadb-install-db --no-defaults --user="$(id -un)" --datadir="$LAB/db" \
      --auth-root-authentication-method=normal --skip-test-db >"$LAB/log/mariadb-install.log" 2>&1
    cat >"$LAB/etc/init.sql" <<'C'
CREATE DATABASE IF NOT EXISTS slurm_acct;
CREATE USER IF NOT EXISTS 'slurm'@'127.0.0.1' IDENTIFIED BY 'slurm';
CREATE USER IF NOT EXISTS 'slurm'@'localhost' IDENTIFIED BY 'slurm';
GRANT ALL ON slurm_acct.* TO 'slurm'@'127.0.0.1';
GRANT ALL ON slurm_acct.* TO 'slurm'@'localhost';
C
  fi
  # A plain command with all three descriptors moved: "A || B &" would leave a subshell
  # that holds the caller's stdout, and `slurm-lab.sh start | cat` would never end.
  if ! alive "$LAB/run/mariadb.pid"; then
  setsid mariadbd --no-defaults --user="$(id -un)" --datadir="$LAB/db" \
    --bind-address=127.0.0.1 --port=$((PORT + 2)) --socket="$LAB/run/mysql.sock" \
    --pid-file="$LAB/run/mariadb.pid" --init-file="$LAB/etc/init.sql" \
    --innodb-buffer-pool-size=64M --innodb-log-file-size=32M --innodb-flush-log-at-trx-commit=0 \
    --innodb-lock-wait-timeout=900 --skip-log-bin --skip-innodb-doublewrite --sync-frm=0 \
    >"$LAB/log/mariadb.log" 2>&1 </dev/null &
  fi
  wait_for 30 mariadbd mariadb-admin --no-defaults --protocol=tcp -h127.0.0.1 -P$((PORT + 2)) -uslurm -pslurm ping
  alive "$LAB/run/slurmdbd.pid" || slurmdbd   # finds slurmdbd.conf beside SLURM_CONF
  wait_for 20 slurmdbd sacctmgr -n -P list cluster
  sacctmgr -n -P list cluster | grep -q '^lab|' || sacctmgr -i -Q add cluster lab >/dev/null
}

start() {
  configure
  alive "$LAB/run/munged.pid" || munged --key-file="$LAB/etc/munge.key" --socket="$LAB/run/munge.sock" \
    --pid-file="$LAB/run/munged.pid" --log-file="$LAB/log/munged.log" --seed-file="$LAB/run/munged.seed" --num-threads=2
  wait_for 5 munged munge -n -S "$LAB/run/munge.sock"
  [ "$DBD" = 1 ] && start_db
  alive "$LAB/run/slurmctld.pid" || slurmctld
  local i
  for ((i = 1; i <= NODES; i++)); do
    mkdir -p "$LAB/spool/n$i"
    alive "$LAB/run/slurmd.n$i.pid" || slurmd -N "n$i"
  done
  wait_for 20 "all nodes idle" bash -c "[ \$(sinfo -h -N -p main -o %t | grep -cE '^(idle|mix|alloc|comp)') -ge $NODES ]"
  # slurmctld joins slurmdbd on its own; until it has, sacct knows no new job
  if [ "$DBD" = 1 ]; then
    wait_for 30 "slurmctld at slurmdbd" bash -c '[ "$(sacctmgr -n -P list cluster format=controlport)" -gt 0 ]'
  fi
}

stop() {
  if alive "$LAB/run/slurmctld.pid"; then
    # a slurmstepd outlives its slurmd: empty the queue first
    timeout 10 squeue -h -o %A 2>/dev/null | sort -u | xargs -r timeout 10 scancel 2>/dev/null || true
    local i; for ((i = 0; i < 75; i++)); do [ -n "$(timeout 5 squeue -h 2>/dev/null)" ] || break; sleep 0.2; done
  fi
  stop_pid "$LAB"/run/slurmd.n*.pid "$LAB/run/slurmctld.pid"
  stop_pid "$LAB/run/slurmdbd.pid"   # after slurmctld, so that it takes the last records
  stop_pid "$LAB/run/mariadb.pid"
  stop_pid "$LAB/run/munged.pid"
}

kill_daemon() { # -9 by its pid file, and gone when this returns
  local p; p=$(cat "$LAB/run/$1.pid") || die "$1 has no pid file"
  kill -KILL "$p"
  while ! gone "$p"; do sleep 0.02; done
  rm -f "$LAB/run/$1.pid"
}

up() {
  case "$1" in
    slurmctld) slurmctld; wait_for 20 slurmctld scontrol ping ;;
    slurmdbd) slurmdbd; wait_for 20 slurmdbd sacctmgr -n -P list cluster ;;
    slurmd.*) slurmd -N "${1#slurmd.}" ;;
    *) die "up slurmctld | slurmdbd | slurmd.NODE" ;;
  esac
}

case "${1:-}" in
  install) install ;;
  start) start ;;
  stop) stop ;;
  kill) kill_daemon "${2:?which daemon}" ;;
  down) stop_pid "$LAB/run/${2:?which daemon}.pid" ;;
  up) up "${2:?which daemon}" ;;
  status) sinfo -N -l; squeue ;;
  env) echo "export SLURM_CONF=$SLURM_CONF" ;;
  *) die "install | start | stop | status | env | kill DAEMON | down DAEMON | up DAEMON" ;;
esac
