1	superseded	2026-11-28T02:31:00.123456789Z	shop-0.1.0	1.0	0	Install complete
2	failed	2026-11-28T02:31:00.123456789+01:00	shop-0.1.1	1.0?b	0	Upgrade 'shop' failed: {'revision':7 timed out
3	deployed	2026-11-28T02:31:00Z	shop-0.1.0	1.0	1	oops
4	pending-rollback		shop-0.1.0		12	Rollback to 12
rc 0
1 deployment/shop shop reg/shop:1.0@sha256:abc 1.0
1 deployment/shop side side:1 1.0
end
rc 0
1 deployment/shop shop reg/shop:1.0@sha256:abc 1.0
1 deployment/shop side side:1 1.0
end
rc 0
loses PersistentVolumeClaim. prod hk hook
loses PersistentVolumeClaim. prod data removed
keeps PersistentVolumeClaim. prod kept removed
loses CustomResourceDefinition.apiextensions.k8s.io - a.b.c removed
loses Namespace. - nn removed
deletes Service nn
scales StatefulSet.apps prod db 1
keeps StatefulSet.apps prod db2 claims
deletes Namespace notreally
end 8 3
rc 0
loses PersistentVolumeClaim. prod hk hook
loses PersistentVolumeClaim. prod data removed
keeps PersistentVolumeClaim. prod kept removed
loses CustomResourceDefinition.apiextensions.k8s.io - a.b.c removed
loses Namespace. - nn removed
loses Service. prod nn removed
scales StatefulSet.apps prod db 1
keeps StatefulSet.apps prod db2 claims
loses Namespace.x.y prod notreally removed
end 8 3
rc 0
usage: helm-look.sh HELM preview NAMESPACE RELEASE FROM TO
rc 1
a name is made of a-z, 0-9, - and .
rc 1
