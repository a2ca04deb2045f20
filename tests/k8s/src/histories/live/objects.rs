//! Templates of histories as objects of Kubernetes, written and read.

use serde_json::{Value, json};

use crate::histories::{Product, Template};

pub(super) const APPS: &str = "apps/v1";
pub(super) const ARGO: &str = "argoproj.io/v1alpha1";
/// Which configuration it is.
const CONFIG: &str = "shop.test/config";
/// What `kubectl rollout restart` writes.
pub(super) const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";
/// What has pods not come up, whatever their image.
const FAULT: &str = "kubelet.backstay.test/fault";

/// A template of pods.
pub(super) fn written(product: &Product, template: &Template) -> Value {
    let container = json!({"name": "shop", "image": product.image(template.release)});
    let mut written = json!({"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [container]}});
    let mut annotations = json!({});
    if template.config != 0 {
        annotations[CONFIG] = template.config.to_string().into();
    }
    if !product.is_sound(template.config) {
        annotations[FAULT] = "not-ready".into();
    }
    if template.restart != 0 {
        annotations[RESTARTED] = restarted(template.restart).into();
    }
    if annotations != json!({}) {
        written["metadata"]["annotations"] = annotations;
    }
    written
}

/// When the restart of this number was.
pub(super) fn restarted(restart: u32) -> String {
    format!("2026-01-01T{:02}:{:02}:00Z", restart / 60, restart % 60)
}

/// What a template is of.
pub(super) fn read(product: &Product, written: &Value) -> Result<Template, String> {
    let image = written["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
    let release = product.release_of(image).ok_or_else(|| format!("nobody shipped {image:?}"))?;
    let annotations = &written["metadata"]["annotations"];
    let config = annotations[CONFIG].as_str().map_or(Ok(0), str::parse).map_err(super::told)?;
    let restart = annotations[RESTARTED].as_str().map_or(0, |at| {
        let mut parts = at.get(11..16).unwrap_or_default().split(':').filter_map(|part| part.parse().ok());
        parts.next().unwrap_or(0) * 60 + parts.next().unwrap_or(0_u32)
    });
    Ok(Template { release, config, restart })
}

/// The chart of a Deployment. What is given to it is its image, the configuration, and whether pods come up under that.
pub(super) fn chart() -> [(&'static str, String); 3] {
    let deployment = format!(
        r#"apiVersion: apps/v1
kind: Deployment
metadata: {{name: shop}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: shop}}}}
  template:
    metadata:
      labels: {{app: shop}}
      {{{{- if .Values.config }}}}
      annotations:
        {CONFIG}: {{{{ .Values.config | quote }}}}
        {{{{- if .Values.fault }}}}
        {FAULT}: {{{{ .Values.fault | quote }}}}
        {{{{- end }}}}
      {{{{- end }}}}
    spec:
      containers:
      - {{name: shop, image: {{{{ .Values.image | quote }}}}}}
"#
    );
    let values = "image: \"\"\nconfig: \"\"\nfault: \"\"\n".to_owned();
    let chart = "apiVersion: v2\nname: shop\nversion: 1.0.0\n".to_owned();
    [("Chart.yaml", chart), ("values.yaml", values), ("templates/deployment.yaml", deployment)]
}

/// What is given to the chart.
pub(super) fn values(product: &Product, template: &Template) -> [String; 2] {
    let config = if template.config == 0 { String::new() } else { template.config.to_string() };
    let fault = if product.is_sound(template.config) { "" } else { "not-ready" };
    [
        "--set-string".into(),
        format!("image={},config={config},fault={fault}", product.image(template.release)),
    ]
}
