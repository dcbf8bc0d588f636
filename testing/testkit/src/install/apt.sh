#!/bin/sh
# Installs the Debian packages named as arguments without starting a server. Runs as root.
#
# A freshly installed server would start by itself on its standard port. Three things keep it from that: policy-rc.d
# answers "forbidden by policy" for the time of the installation, postgresql-common is told not to create its "main"
# cluster, and the units are disabled so that the next boot does not start them either. What stood there before is put
# back however this script ends.
#
# RabbitMQ brings Erlang along, whose units for its port mapper are disabled too, unless Erlang was here before.
set -eu

policy=/usr/sbin/policy-rc.d
saved=/usr/sbin/policy-rc.d.saved-by-pp
cluster=/etc/postgresql-common/createcluster.d/zz-pp-no-main-cluster.conf
units="$*"
if [ ! -e /lib/systemd/system/epmd.socket ]; then
    units="$units epmd.socket epmd.service"
fi

disable_units() {
    for unit in $units; do
        if command -v systemctl >/dev/null 2>&1; then
            systemctl disable "$unit" >/dev/null 2>&1 || true
        else
            # Packages leave their links also where no systemd is installed yet; update-rc.d knows services alone.
            update-rc.d "$unit" disable >/dev/null 2>&1 || true
            rm -f /etc/systemd/system/*.wants/"$unit"
        fi
    done
}

# Also after an installation that was interrupted: the next run may find nothing left to install.
leave() {
    trap - EXIT INT TERM HUP
    if [ -e "$saved" ]; then
        mv -f "$saved" "$policy"
    else
        rm -f "$policy"
    fi
    rm -f "$cluster"
    rmdir "$(dirname "$cluster")" "$(dirname "$(dirname "$cluster")")" 2>/dev/null || true
    disable_units
}

# A run that was killed without mercy left its own policy behind: what it had saved is the original.
if [ -e "$saved" ]; then
    mv -f "$saved" "$policy"
elif grep -qs 'written by pp_testkit' "$policy"; then
    rm -f "$policy"
fi

trap leave EXIT
trap 'leave; exit 130' INT TERM HUP

if [ -e "$policy" ]; then
    cp -p "$policy" "$saved"
    rm -f "$policy"
fi
printf '#!/bin/sh\n# written by pp_testkit for the time of an installation\nexit 101\n' >"$policy"
chmod 755 "$policy"
mkdir -p "$(dirname "$cluster")"
echo 'create_main_cluster = false' >"$cluster"

export DEBIAN_FRONTEND=noninteractive

install() {
    apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300 "$@" </dev/null
}

# The package lists are only fetched when the ones at hand do not do.
if ! install "$@"; then
    apt-get update
    install "$@"
fi
